import type { TimeSeriesData } from '@perses-dev/core';
import type { QueryData } from '@perses-dev/plugin-system';
import type { Answer } from '../../model/answer';
import { answerOfError, formatDuration, reasonText } from '../../model/answer';
import { answerOfData } from '../../model/answered-data';
import type { LiveConnection, LiveState } from '../../model/live-query';

/** What the strip above a result says of the answer to one query. */
export interface AnswerSummary {
  /** Tier that answered or failed. Undefined where nobody said. */
  tier?: string;
  /** External labels of the source of hot that answered. */
  source?: string;
  /** Reason as the gateway writes it. */
  reason?: string;
  /** The rest of the line: why this tier, how long it took, and how much came back; to be read one after the other. */
  facts: string[];
  warnings: string[];
  infos: string[];
  /** What went wrong instead of an answer. */
  error?: string;
  isFetching: boolean;
  /** How the stream is, of a query that is live. */
  live?: LiveSummary;
}

/** What is said of the stream of a live query. */
export interface LiveSummary {
  connection: LiveConnection;
  /** When the last data came, and how long after their step; to be read one after the other. */
  facts: string[];
}

/**
 * Says what there is to say of the answer to one query.
 *
 * @param live the state of its stream, if the query is live
 */
export function summaryOf(result: QueryData<TimeSeriesData>, live?: LiveState): AnswerSummary {
  const summary = summaryOfAnswer(result);
  return live === undefined ? summary : { ...summary, ...troubleOf(summary, live), live: liveSummary(live) };
}

function summaryOfAnswer({ data, error, isFetching }: QueryData<TimeSeriesData>): AnswerSummary {
  const failed = error !== null && error !== undefined;
  const answer = failed ? answerOfError(error) : data && answerOfData(data);
  return {
    tier: answer?.tier,
    source: answer?.source,
    reason: answer?.reason,
    facts: [...circumstances(answer), ...(data === undefined || failed ? [] : sizes(data))],
    warnings: answer?.warnings ?? [],
    infos: answer?.infos ?? [],
    error: failed ? (error instanceof Error ? error.message : 'The query failed.') : undefined,
    isFetching,
  };
}

/** What is wrong with a stream. What it brought before stays. */
function troubleOf(
  { warnings }: AnswerSummary,
  { connection, error }: LiveState
): Pick<AnswerSummary, 'error' | 'warnings'> {
  if (error === undefined) {
    return { error: undefined, warnings };
  }
  switch (connection) {
    case 'stopped':
      return { error: `Live has stopped: ${error}`, warnings };
    case 'live':
      return { error: `The newest steps are missing, and are asked for again: ${error}`, warnings };
    default:
      return { error: undefined, warnings: [`Connecting again: ${error}`, ...warnings] };
  }
}

function liveSummary({ connection, updatedAtMs, lagMs }: LiveState): LiveSummary {
  const updated = updatedAtMs === undefined ? [] : [`last update ${timeOfDay.format(updatedAtMs)}`];
  return { connection, facts: [...updated, ...(lagMs === undefined ? [] : [`lag ${formatDuration(lagMs)}`])] };
}

const timeOfDay = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });

function circumstances(answer: Answer | undefined): string[] {
  const reason = answer?.reason === undefined ? undefined : reasonText(answer.reason);
  return [
    ...(reason === undefined || reason === answer?.reason ? [] : [reason]),
    ...(answer?.durationMs === undefined ? [] : [formatDuration(answer.durationMs)]),
  ];
}

function sizes({ series }: TimeSeriesData): string[] {
  const samples = series.reduce((sum, { values }) => sum + values.length, 0);
  return [count(series.length, 'series', 'series'), count(samples, 'sample', 'samples')];
}

function count(number: number, one: string, many: string): string {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}
