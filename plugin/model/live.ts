import type { RequestHeaders } from '@perses-dev/core';
import { EventStreamParser } from './event-stream';
import type { LiveSample } from './live-series';
import { GatewayError } from './request';

// The stream of GET /api/v1/metrics/live is read with fetch rather than with EventSource, although that reconnects by
// itself. The web UI of Perses puts a function around the global fetch that renews an expired session at a 401 and asks
// again, and knows nothing of EventSource, which would end for good there. EventSource also hides why a request failed
// (a mistake in the query, a missing permission, Retry-After), and sends no X-Tier-Choice. Cookies go along with both.

/** What an event says of its steps: the span that it has, in seconds since the epoch, and who evaluated them. */
export interface LiveAbout {
  start: number;
  end: number;
  step: number;
  tier?: string;
  reason?: string;
  source?: string;
}

/** Data of a snapshot or an append: an answer to query_range, and what is said of it. */
export interface LiveBody {
  data: { result: LiveSample[] };
  warnings?: string[];
  infos?: string[];
  live: LiveAbout;
}

/** What happens on a live query. */
export type LiveUpdate =
  | { kind: 'open'; clockAheadMs: number }
  | { kind: 'snapshot'; body: LiveBody }
  /** After a reconnect, the steps behind keepUpTo count no longer, in seconds: they are sent anew. */
  | { kind: 'append'; body: LiveBody; keepUpTo?: number }
  /** One evaluation failed; the next one is tried on the same connection. */
  | { kind: 'failed'; message: string }
  /** The connection is gone; the next one is tried after a while. */
  | { kind: 'reconnecting'; message: string; afterMs: number }
  /** Nothing will come any more. */
  | { kind: 'stopped'; message: string };

/** Opens the stream; throws as openStream does. */
export type OpenLive = (headers: RequestHeaders, signal: AbortSignal) => Promise<Response>;

/** Times that tests shorten, in milliseconds. */
export interface LiveTimes {
  /** How long nothing may come, keep-alives included, before the connection counts as broken: three keep-alives. */
  silenceMs: number;
  /** The first wait before a reconnect where the stream names none; each failure doubles it. */
  retryMs: number;
  /** The longest wait. */
  maxRetryMs: number;
  /** A permission that is gone twice within this time is really gone. */
  permissionMs: number;
}

const defaultTimes: LiveTimes = { silenceMs: 45_000, retryMs: 1000, maxRetryMs: 30_000, permissionMs: 90_000 };

/**
 * Follows a live query until the signal ends it, or until it cannot go on: update gets what happens. A connection that is
 * gone is opened again, and goes on behind the last id. Each wait is longer than the one before until data come, and none
 * is exactly as long as that of other readers, which lost their connection at the same time.
 */
export async function followLive(
  open: OpenLive,
  update: (update: LiveUpdate) => void,
  signal: AbortSignal,
  times: Partial<LiveTimes> = {}
): Promise<void> {
  const follower = new Follower(open, update, { ...defaultTimes, ...times });
  while (!signal.aborted) {
    const next = await follower.connect(signal);
    // The signal may have come meanwhile; the compiler takes it for what it was.
    if ((signal as { aborted: boolean }).aborted) {
      return;
    }
    update(next);
    if (next.kind === 'stopped') {
      return;
    }
    await sleep(next.afterMs, signal);
  }
}

type Closed = Extract<LiveUpdate, { kind: 'reconnecting' | 'stopped' }>;

/** What remains from one connection to the next. */
class Follower {
  private lastId = '';
  private failures = 0;
  private retryMs: number;
  private permissionEndedAt = -Infinity;
  /** Whether steps of an earlier connection are still there, which an append at the beginning of this one replaces. */
  private resumes = false;

  constructor(
    private readonly open: OpenLive,
    private readonly update: (update: LiveUpdate) => void,
    private readonly times: LiveTimes
  ) {
    this.retryMs = times.retryMs;
  }

  /** Opens one connection and reads it to its end; returns how to go on. */
  async connect(signal: AbortSignal): Promise<Closed> {
    // A connection is also closed for other reasons than the signal: at its end, and when it is silent.
    const connection = new AbortController();
    const abort = (): void => {
      connection.abort();
    };
    signal.addEventListener('abort', abort);
    try {
      this.resumes = this.lastId !== '';
      const headers: RequestHeaders = this.resumes ? { 'Last-Event-ID': this.lastId } : {};
      const response = await this.open(headers, connection.signal);
      this.update({ kind: 'open', clockAheadMs: clockAheadMs(response) });
      return await this.read(response, abort);
    } catch (error) {
      return this.afterError(error);
    } finally {
      signal.removeEventListener('abort', abort);
      connection.abort();
    }
  }

  private async read(response: Response, abort: () => void): Promise<Closed> {
    const parser = new EventStreamParser();
    const decoder = new TextDecoder();
    const reader = response.body?.getReader();
    const silence = { isTooLong: false };
    const onSilence = (): void => {
      silence.isTooLong = true;
      abort();
    };
    let timer = setTimeout(onSilence, this.times.silenceMs);
    try {
      for (;;) {
        const chunk = await reader?.read();
        if (chunk?.value === undefined) {
          return this.reconnect('The connection was closed.');
        }
        clearTimeout(timer);
        timer = setTimeout(onSilence, this.times.silenceMs);
        for (const { event, data, id } of parser.push(decoder.decode(chunk.value, { stream: true }))) {
          this.retryMs = parser.retryMs ?? this.retryMs;
          const closed = this.take(event, JSON.parse(data) as object);
          if (closed !== undefined) {
            return closed;
          }
          // After its data: what was not taken is sent again.
          this.lastId = event === 'end' ? this.lastId : id;
        }
      }
    } catch (error) {
      if (silence.isTooLong) {
        return this.reconnect('Nothing has come for a while.');
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Takes an event; returns how to go on where it is the last one. */
  private take(event: string, data: object): Closed | undefined {
    switch (event) {
      case 'snapshot':
      case 'append': {
        this.failures = 0;
        const keepUpTo = this.resumes ? Number(this.lastId) : NaN;
        this.resumes = false;
        const body = data as LiveBody;
        this.update(
          event === 'append' && !Number.isNaN(keepUpTo) ? { kind: 'append', body, keepUpTo } : { kind: event, body }
        );
        return undefined;
      }
      case 'error':
        this.update({ kind: 'failed', message: (data as { error?: string }).error ?? 'The query failed.' });
        return undefined;
      case 'end':
        return this.afterEnd(data as { reason?: string; message?: string });
      default:
        return undefined;
    }
  }

  private afterEnd({ reason, message }: { reason?: string; message?: string }): Closed {
    switch (reason) {
      case 'permission': {
        // A session that has expired looks the same to the gateway: a new request renews it, or says what is missing.
        const now = performance.now();
        const isGone = now - this.permissionEndedAt < this.times.permissionMs;
        this.permissionEndedAt = now;
        return isGone ? noPermission(message) : this.reconnect(message ?? 'The permission is looked up again.');
      }
      case 'datasource':
        // Its tiers may be others now: nothing of before counts.
        this.lastId = '';
        return this.reconnect(message ?? 'The datasource has changed.');
      case 'limit':
        this.failures++;
        return this.reconnect(message ?? 'There are too many streams.');
      default:
        return this.reconnect(message ?? 'The gateway has ended the stream.');
    }
  }

  private afterError(error: unknown): Closed {
    const message = error instanceof Error ? error.message : String(error);
    if (!(error instanceof GatewayError)) {
      this.failures++;
      return this.reconnect(message);
    }
    const { status, retryAfterMs = 0 } = error;
    if (status === 401 || status === 403) {
      return noPermission(message);
    }
    if (status < 500 && status !== 408 && status !== 429) {
      return { kind: 'stopped', message };
    }
    this.failures++;
    return this.reconnect(message, retryAfterMs);
  }

  private reconnect(message: string, atLeastMs = 0): Closed {
    const longestMs = Math.min(this.times.maxRetryMs, this.retryMs * 2 ** Math.max(0, this.failures - 1));
    return { kind: 'reconnecting', message, afterMs: atLeastMs + (longestMs * (1 + Math.random())) / 2 };
  }
}

function noPermission(message: string | undefined): Closed {
  const because = message === undefined ? '' : `: ${message}`;
  return { kind: 'stopped', message: `You may not read this datasource any more, or not live${because}` };
}

/** How far the clock of the server is ahead of ours, in milliseconds; 0 where the seconds of its Date tell nothing. */
function clockAheadMs({ headers }: Response): number {
  const aheadMs = Date.parse(headers.get('Date') ?? '') - Date.now();
  return Math.abs(aheadMs) > 2000 ? aheadMs : 0;
}

function sleep(forMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, forMs);
    signal.addEventListener('abort', end);
  });
}
