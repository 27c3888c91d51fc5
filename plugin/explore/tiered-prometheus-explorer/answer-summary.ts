import type { TimeSeriesData } from '@perses-dev/core';
import type { QueryData } from '@perses-dev/plugin-system';
import type { Answer } from '../../model/answer';
import { answerOfError, formatDuration, reasonText } from '../../model/answer';
import { answerOfData } from '../../model/answered-data';

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
}

/** Says what there is to say of the answer to one query. */
export function summaryOf({ data, error, isFetching }: QueryData<TimeSeriesData>): AnswerSummary {
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
