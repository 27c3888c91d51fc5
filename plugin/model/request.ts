import type { RequestHeaders } from '@perses-dev/core';

/** Response header that names the tier that answered. */
export const TIER_HEADER = 'X-Tier';

/** Response header that says why this tier answered. */
export const REASON_HEADER = 'X-Tier-Reason';

/** Response header with the external labels of the source of hot that answered, such as {cluster="eu-1"}. */
export const SOURCE_HEADER = 'X-Tier-Source';

/** What can be said of a request besides its parameters. */
export interface RequestOptions {
  headers?: RequestHeaders;
  /** Ends the request early; its promise is then rejected with the reason of the signal. */
  signal?: AbortSignal;
}

/** A request that the gateway, the tier behind it or Perses in front of it answered with an error. */
export class GatewayError extends Error {
  /** Status of the HTTP response, such as 422. */
  readonly status: number;
  /** Kind of the error in the Prometheus API, such as bad_data or timeout. */
  readonly errorType?: string;
  /** Tier that was asked, where one was chosen. */
  readonly tier?: string;
  /** Why that tier was chosen. */
  readonly reason?: string;
  /** External labels of the source of hot that was asked. */
  readonly source?: string;
  /** After how many milliseconds to ask again, where the answer says so. */
  readonly retryAfterMs?: number;

  constructor(message: string, response: Response, errorType?: string) {
    super(message);
    this.name = 'GatewayError';
    this.status = response.status;
    this.errorType = errorType;
    this.tier = response.headers.get(TIER_HEADER) ?? undefined;
    this.reason = response.headers.get(REASON_HEADER) ?? undefined;
    this.source = response.headers.get(SOURCE_HEADER) ?? undefined;
    const seconds = response.headers.get('Retry-After') ?? '';
    this.retryAfterMs = /^\d+$/.test(seconds) ? Number(seconds) * 1000 : undefined;
  }
}

/** Value of a request parameter; one that is undefined is not sent, and a list is sent as one parameter for each item. */
export type ParameterValue = string | number | readonly string[] | undefined;

/** Writes parameters as a query string or form. */
export function encodeParameters(parameters: Record<string, ParameterValue>): URLSearchParams {
  const encoded = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    const values = typeof value === 'object' ? value : value === undefined ? [] : [String(value)];
    for (const each of values) {
      encoded.append(name, each);
    }
  }
  return encoded;
}

/**
 * Sends a request and returns the JSON object of the answer, with the response itself as rawResponse: its headers say
 * which tier answered. It throws a GatewayError with the message of the answer where the status is not 2xx or the answer
 * is no JSON object.
 */
export async function send<Body extends object>(
  url: string,
  init: RequestInit
): Promise<Body & { rawResponse: Response }> {
  const response = await fetch(url, init);
  const text = await response.text();
  const body = parseObject(text);
  if (!response.ok) {
    throw new GatewayError(errorMessage(response, body, text), response, stringOf(body?.errorType));
  }
  if (body === undefined) {
    throw new GatewayError(notExpected(url, 'JSON'), response);
  }
  return { ...(body as Body), rawResponse: response };
}

/**
 * Sends a request whose answer is a stream of events, and returns the response once its header is there. It throws a
 * GatewayError as send does.
 */
export async function openStream(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init);
  if (!response.ok) {
    const text = await response.text();
    const body = parseObject(text);
    throw new GatewayError(errorMessage(response, body, text), response, stringOf(body?.errorType));
  }
  if (response.headers.get('Content-Type')?.startsWith('text/event-stream') !== true) {
    await response.body?.cancel();
    throw new GatewayError(notExpected(url, 'a stream of events'), response);
  }
  return response;
}

function notExpected(url: string, kind: string): string {
  return `The answer of ${url.replace(/\?.*/, '')} is not ${kind}: is there another server, or a sign-in page, in between?`;
}

/** The message of an error: that of the Prometheus API, that of Perses, or the body where it is a short text. */
function errorMessage(response: Response, body: Record<string, unknown> | undefined, text: string): string {
  const message = stringOf(body?.error) ?? stringOf(body?.message);
  if (message !== undefined) {
    return message;
  }
  const status = `${String(response.status)} ${response.statusText}`.trim();
  const isText = response.headers.get('Content-Type')?.startsWith('text/plain') === true;
  const line = isText ? text.trim().split('\n', 1)[0]?.slice(0, 200) : undefined;
  return line === undefined || line === '' ? status : `${status}: ${line}`;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function stringOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
