import type { Answer } from './answer';
import type { AnsweredData } from './answered-data';
import type { LiveBody, LiveUpdate } from './live';
import type { NameOf } from './live-series';
import { LiveSeries } from './live-series';
import { noticeOf } from './notice';

/** How the connection of a live query is. */
export type LiveConnection = 'connecting' | 'live' | 'reconnecting' | 'stopped';

/** What is known of a live query. */
export interface LiveState {
  connection: LiveConnection;
  /** The series in the window. Undefined before the first snapshot. */
  data?: AnsweredData;
  /** Why nothing new comes, or why the last evaluation failed. */
  error?: string;
  /** When the last data came, in milliseconds since the epoch. */
  updatedAtMs?: number;
  /** How long after the newest step its data came, in milliseconds. Undefined where clocks do not allow to say. */
  lagMs?: number;
}

/** What one live query is, besides its series. */
interface LiveQueryOptions {
  /** The query as it is asked. */
  query: string;
  /** Length of the window, in seconds. */
  range: number;
  nameOf: NameOf;
  /** Returns the time, in milliseconds since the epoch. */
  now?: () => number;
}

/** The most warnings that are shown; they come again with each append while their reason lasts. */
const MAX_WARNINGS = 20;

/**
 * Turns what happens on a live query into what is shown of it: a new state each time. The data of states share their
 * series, which are changed in place; a state that is not the latest has the window of its time, but the points of now.
 */
export class LiveQuery {
  state: LiveState = { connection: 'connecting' };
  private readonly series: LiveSeries;
  private readonly now: () => number;
  private clockAheadMs = 0;
  /** The newest step, in seconds since the epoch. */
  private end = 0;
  /** Warnings and infos, by the newest step that they were said of, in seconds. */
  private warnings = new Map<string, number>();
  private infos = new Map<string, number>();

  constructor(private readonly options: LiveQueryOptions) {
    this.series = new LiveSeries(options.nameOf);
    this.now = options.now ?? Date.now;
  }

  /** Takes what happened, and returns the new state. */
  apply(update: LiveUpdate): LiveState {
    switch (update.kind) {
      case 'open':
        this.clockAheadMs = update.clockAheadMs;
        this.state = { ...this.state, connection: 'live', error: undefined };
        break;
      case 'snapshot':
        this.warnings.clear();
        this.infos.clear();
        this.end = update.body.live.end;
        this.series.replace(update.body.data.result, -Infinity, Infinity);
        this.state = { ...this.state, ...this.after(update.body), lagMs: undefined };
        break;
      case 'append': {
        const { data, live } = update.body;
        if (update.keepUpTo !== undefined) {
          this.series.keepUpTo(update.keepUpTo);
          this.end = update.keepUpTo;
        }
        const lagMs = this.lagAt(live.end);
        this.end = Math.max(this.end, live.end);
        this.series.replace(data.result, live.start, live.end);
        this.state = { ...this.state, ...this.after(update.body), lagMs };
        break;
      }
      case 'failed':
        this.state = { ...this.state, error: update.message };
        break;
      case 'reconnecting':
      case 'stopped':
        this.state = { ...this.state, connection: update.kind, error: update.message };
        break;
    }
    return this.state;
  }

  /** What changes with new data, which are among the series already. */
  private after({ warnings, infos, live }: LiveBody): Partial<LiveState> {
    const { query, range } = this.options;
    // Charts count the steps of a window from its start, which has to be one.
    const start = this.end - Math.floor(range / live.step) * live.step;
    this.series.keepFrom(start);
    remember(this.warnings, warnings, start, live.end);
    remember(this.infos, infos, start, live.end);
    const answer: Answer = {
      tier: live.tier,
      reason: live.reason,
      source: live.source,
      warnings: [...this.warnings.keys()],
      infos: [...this.infos.keys()],
    };
    const notice = noticeOf(answer);
    return {
      connection: 'live',
      error: undefined,
      updatedAtMs: this.now(),
      data: {
        timeRange: { start: new Date(start * 1000), end: new Date(this.end * 1000) },
        stepMs: live.step * 1000,
        series: this.series.series,
        metadata: { notices: notice === undefined ? [] : [notice], executedQueryString: query, answer },
      },
    };
  }

  /** How long after a step its data came. What it was before, if this step is not newer than the others. */
  private lagAt(end: number): number | undefined {
    const lagMs = this.now() + this.clockAheadMs - end * 1000;
    return end <= this.end ? this.state.lagMs : lagMs < 0 ? undefined : lagMs;
  }
}

/** Remembers texts for as long as a step is shown that they were said of. */
function remember(texts: Map<string, number>, said: string[] = [], start: number, end: number): void {
  for (const text of said) {
    texts.set(text, end);
  }
  for (const [text, last] of texts) {
    if (last < start || texts.size > MAX_WARNINGS) {
      texts.delete(text);
    }
  }
}
