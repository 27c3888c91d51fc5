import type { TimeSeriesData } from '@perses-dev/core';
import type { QueryData } from '@perses-dev/plugin-system';
import { describe, expect, it } from 'vitest';
import type { Answer } from '../../model/answer';
import type { AnsweredData } from '../../model/answered-data';
import { GatewayError } from '../../model/request';
import { summaryOf } from './answer-summary';

function result(answer: Partial<Answer> | undefined, lengths: number[]): QueryData<TimeSeriesData> {
  const series = lengths.map((length, index) => ({
    name: String(index),
    values: Array.from({ length }, (_, at): [number, number] => [at, at]),
  }));
  const data: AnsweredData = { series, metadata: { answer: answer && { warnings: [], infos: [], ...answer } } };
  return { data, definition: {} as never, error: null, isFetching: false, isLoading: false };
}

describe('what is said of an answer', () => {
  it('is the tier, why, how long, and how much', () => {
    const source = '{cluster="eu-1"}';
    expect(summaryOf(result({ tier: 'hot', source, reason: 'below-threshold', durationMs: 12 }, [3, 4]))).toEqual({
      tier: 'hot',
      source,
      reason: 'below-threshold',
      facts: ['the query reads less than the threshold at once', '12 ms', '2 series', '7 samples'],
      warnings: [],
      infos: [],
      error: undefined,
      isFetching: false,
    });
  });

  it('counts one and many', () => {
    expect(summaryOf(result({}, [1])).facts).toEqual(['1 series', '1 sample']);
    expect(summaryOf(result({}, [1234])).facts).toEqual(['1 series', '1,234 samples']);
    expect(summaryOf(result({}, [])).facts).toEqual(['0 series', '0 samples']);
  });

  it('does not repeat a reason that is not known', () => {
    expect(summaryOf(result({ tier: 'hot,cold', reason: 'joined' }, [])).facts).toEqual(['0 series', '0 samples']);
  });

  it('is every warning and remark', () => {
    const summary = summaryOf(result({ warnings: ['one', 'two'], infos: ['three'] }, []));
    expect(summary).toMatchObject({ warnings: ['one', 'two'], infos: ['three'] });
  });

  it('is how much, where another kind of query was asked', () => {
    expect(summaryOf(result(undefined, [2]))).toMatchObject({ tier: undefined, facts: ['1 series', '2 samples'] });
  });

  it('is the error and the tier that made it', () => {
    const response = new Response('', {
      status: 422,
      headers: { 'X-Tier': 'cold', 'X-Tier-Reason': 'older-than-hot', 'X-Tier-Source': '{cluster="eu-1"}' },
    });
    const failed = { ...result({ tier: 'hot' }, [1]), error: new GatewayError('too many samples', response) };
    expect(summaryOf(failed)).toMatchObject({
      tier: 'cold',
      source: '{cluster="eu-1"}',
      reason: 'older-than-hot',
      facts: ['the query reads what is older than the data of hot'],
      error: 'too many samples',
    });
  });
});
