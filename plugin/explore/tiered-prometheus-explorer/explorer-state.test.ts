import type { QueryDefinition } from '@perses-dev/core';
import { describe, expect, it } from 'vitest';
import { askable, queryOf, withAddedOfOurKind } from './explorer-state';

const other = { kind: 'TieredPrometheusDatasource', name: 'other' } as const;
const foreign: QueryDefinition = {
  kind: 'TimeSeriesQuery',
  spec: { plugin: { kind: 'PrometheusTimeSeriesQuery', spec: { query: '' } } },
};

describe('the queries of the explorer', () => {
  it('name a datasource only where it is not the default one', () => {
    expect(queryOf('up').spec.plugin).toEqual({ kind: 'TieredPrometheusTimeSeriesQuery', spec: { query: 'up' } });
    expect(queryOf('up', { kind: 'TieredPrometheusDatasource' }).spec.plugin.spec).toEqual({ query: 'up' });
    expect(queryOf('up', other).spec.plugin.spec).toEqual({ query: 'up', datasource: other });
  });

  it('are of our kind when they are added, and ask what the one before asks', () => {
    const before = [queryOf('up', other)];
    expect(withAddedOfOurKind(before, [...before, foreign])).toEqual([queryOf('up', other), queryOf('', other)]);
    expect(withAddedOfOurKind([], [foreign])).toEqual([queryOf('')]);
  });

  it('keep a kind that somebody chose', () => {
    expect(withAddedOfOurKind([queryOf('up')], [foreign])).toEqual([foreign]);
  });

  it('are asked once there is an expression', () => {
    expect(askable([queryOf(''), queryOf(' \n'), queryOf('up')])).toEqual([queryOf('up')]);
  });
});
