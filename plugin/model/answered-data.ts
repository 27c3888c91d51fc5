import type { TimeSeriesData } from '@perses-dev/core';
import type { Answer } from './answer';

/** Data of a query, with what the gateway says of the answer. */
export interface AnsweredData extends TimeSeriesData {
  metadata?: TimeSeriesData['metadata'] & { answer?: Answer };
}

/** What the gateway says of the answer that this data is from. Undefined for data of other kinds of queries. */
export function answerOfData(data: AnsweredData): Answer | undefined {
  return data.metadata?.answer;
}
