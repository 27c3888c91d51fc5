import type { RequestHeaders } from '@perses-dev/core';
import type { PrometheusClient } from '@perses-dev/prometheus-plugin/lib/model/prometheus-client';
import { healthCheck } from '@perses-dev/prometheus-plugin/lib/model/prometheus-client';
import type { AlertThresholds, AlertThresholdsRequestParameters } from './alert-thresholds';
import type { CheckReport } from './check';
import { check } from './check';
import type { Explanation, ExplainRequestParameters } from './explain';
import type { ParameterValue, RequestOptions } from './request';
import { encodeParameters, openStream, send } from './request';
import type { TierChoice, TieredPrometheusDatasourceSpec } from './spec';

/** Request header by which a query chooses its tier itself. */
export const TIER_CHOICE_HEADER = 'X-Tier-Choice';

/** Parameters of GET /api/v1/metrics/live; step and range in seconds. */
export interface LiveRequestParameters {
  query: string;
  step: number;
  range: number;
}

/** A function of the Prometheus client, which can be aborted and whose answers have a rawResponse, those of GET too. */
type Abortable<Call> = Call extends (parameters: infer Parameters, headers?: RequestHeaders) => Promise<infer Result>
  ? (parameters: Parameters, headers?: RequestHeaders, signal?: AbortSignal) => Promise<Result>
  : never;

/**
 * The client of a TieredPrometheusDatasource: that of the Prometheus plugin, wherever such a one is asked for, and what
 * the gateway adds. Its answers tell tier and reason by answerOf; a request that fails throws a GatewayError.
 */
export interface TieredPrometheusClient extends PrometheusClient {
  instantQuery: Abortable<PrometheusClient['instantQuery']>;
  rangeQuery: Abortable<PrometheusClient['rangeQuery']>;
  labelNames: Abortable<PrometheusClient['labelNames']>;
  labelValues: Abortable<PrometheusClient['labelValues']>;
  metricMetadata: Abortable<PrometheusClient['metricMetadata']>;
  series: Abortable<PrometheusClient['series']>;
  parseQuery: Abortable<PrometheusClient['parseQuery']>;
  /** Asks for the thresholds of alerting rules. */
  alertThresholds: (
    parameters: AlertThresholdsRequestParameters,
    headers?: RequestHeaders,
    signal?: AbortSignal
  ) => Promise<{ data: AlertThresholds; warnings?: string[] }>;
  /** Asks which tier would answer a request, and why, without running it. */
  explain: (
    parameters: ExplainRequestParameters,
    headers?: RequestHeaders,
    signal?: AbortSignal
  ) => Promise<Explanation>;
  /** Opens the stream of a live query; live.ts reads it. */
  live: (parameters: LiveRequestParameters, headers?: RequestHeaders, signal?: AbortSignal) => Promise<Response>;
  /** Asks for a report on a spec, which need not be the saved one; the request goes the way of the saved datasource. */
  check: (spec: TieredPrometheusDatasourceSpec, options?: RequestOptions) => Promise<CheckReport>;
}

/**
 * Returns the client of a datasource: the Prometheus API at proxyUrl, which is the path at which Perses forwards to the
 * gateway. The datasource's queryParams are sent with every request; those of a request win. The headers of the
 * datasource's proxy are not sent from here, because Perses adds them itself. Perses tells no variables here: queries and
 * variables replace those in queryParams and headers with withAdded.
 *
 * It throws where Perses gives no proxyUrl: this kind has no URL that a browser could use directly.
 */
export function createClient(
  { queryParams }: TieredPrometheusDatasourceSpec,
  { proxyUrl }: { proxyUrl?: string }
): TieredPrometheusClient {
  if (proxyUrl === undefined) {
    throw new Error('This datasource is reached through the proxy of Perses, which gave no URL for it.');
  }
  const datasourceUrl = proxyUrl;
  const encode = (parameters: object): URLSearchParams =>
    encodeParameters({ ...queryParams, ...(parameters as Record<string, ParameterValue>) });
  function post<Result extends object>(path: string) {
    return (parameters: object, headers?: RequestHeaders, signal?: AbortSignal): Promise<Result> =>
      send<Result>(`${datasourceUrl}${path}`, { method: 'POST', headers, body: encode(parameters), signal });
  }
  function urlOf(path: string, parameters: object): string {
    const query = encode(parameters).toString();
    return `${datasourceUrl}${path}${query === '' ? '' : `?${query}`}`;
  }
  function get<Result extends object>(path: string) {
    return (parameters: object, headers?: RequestHeaders, signal?: AbortSignal): Promise<Result> =>
      send<Result>(urlOf(path, parameters), { headers, signal });
  }
  const explain = post<{ data: Explanation }>('/api/v1/datasources/explain');
  return {
    options: { datasourceUrl },
    healthCheck: healthCheck({ datasourceUrl }),
    instantQuery: post('/api/v1/query'),
    rangeQuery: post('/api/v1/query_range'),
    labelNames: post('/api/v1/labels'),
    labelValues: ({ labelName, ...parameters }, headers, signal) =>
      // Half-written editors ask for the values of no label; that there are none is no error.
      labelName === ''
        ? Promise.resolve({ status: 'success', data: [] })
        : get<Awaited<ReturnType<PrometheusClient['labelValues']>>>(
            `/api/v1/label/${encodeURIComponent(labelName)}/values`
          )(parameters, headers, signal),
    metricMetadata: get('/api/v1/metadata'),
    series: post('/api/v1/series'),
    parseQuery: post('/api/v1/parse_query'),
    alertThresholds: post('/api/v1/alert_thresholds'),
    explain: async (...request) => (await explain(...request)).data,
    live: (parameters, headers, signal) =>
      openStream(urlOf('/api/v1/metrics/live', parameters), {
        headers: { ...headers, Accept: 'text/event-stream' },
        cache: 'no-store',
        signal,
      }),
    check: (spec, options) => check(datasourceUrl, spec, options),
  };
}

/** A function of the client, whatever its parameters and its answer. */
type Call = (parameters: object, headers?: RequestHeaders, signal?: AbortSignal) => Promise<unknown>;

/** The functions whose requests depend on dashboards: on their variables, their time range, and how long they wait. */
const dashboardCalls = [
  'instantQuery',
  'rangeQuery',
  'labelNames',
  'labelValues',
  'series',
  'explain',
  'alertThresholds',
  'live',
] as const;

/** Returns a client in which other functions take the place of some. */
function withCalls(
  client: TieredPrometheusClient,
  names: readonly (typeof dashboardCalls)[number][],
  wrap: (call: Call) => Call
): TieredPrometheusClient {
  return { ...client, ...Object.fromEntries(names.map((name) => [name, wrap(client[name] as Call)])) };
}

/** Returns a client whose queries ask for a tier; the client itself where the gateway is to choose. */
export function withTierChoice(client: TieredPrometheusClient, choice: TierChoice = 'auto'): TieredPrometheusClient {
  return choice === 'auto'
    ? client
    : withCalls(
        client,
        ['instantQuery', 'rangeQuery', 'explain', 'live'],
        (call) => (parameters, headers, signal) =>
          call(parameters, { ...headers, [TIER_CHOICE_HEADER]: choice }, signal)
      );
}

/** Returns a client whose queries end with a signal, for callers that know of no signal; the client itself without one. */
export function withSignal(client: TieredPrometheusClient, signal: AbortSignal | undefined): TieredPrometheusClient {
  return signal === undefined
    ? client
    : withCalls(client, dashboardCalls, (call) => (parameters, headers) => call(parameters, headers, signal));
}

/** Returns a client whose requests have these parameters, instead of those of the datasource, and headers; their own win. */
export function withAdded(
  client: TieredPrometheusClient,
  added: { parameters: Record<string, ParameterValue>; headers: RequestHeaders }
): TieredPrometheusClient {
  const hasHeaders = Object.keys(added.headers).length > 0;
  return withCalls(
    client,
    dashboardCalls,
    (call) => (parameters, headers, signal) =>
      call({ ...added.parameters, ...parameters }, hasHeaders ? { ...added.headers, ...headers } : headers, signal)
  );
}
