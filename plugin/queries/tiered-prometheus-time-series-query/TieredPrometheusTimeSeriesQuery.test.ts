import type { DatasourceSelector, RequestHeaders } from '@perses-dev/core';
import type { DatasourceSelectItemGroup, DatasourceStore, TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import { describe, expect, it } from 'vitest';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { TieredPrometheusTimeSeriesQuery } from './TieredPrometheusTimeSeriesQuery';

const response = {
  status: 'success',
  warnings: ['the cold tier is 2h behind'],
  data: {
    resultType: 'matrix',
    result: [{ metric: { __name__: 'up', job: 'cart' }, values: [[1_800_000_000, '1']] }],
  },
};

/** What a query asked the store of Perses for. */
interface Asked {
  kinds: string[];
  selectors: DatasourceSelector[];
  queries: { params: object; headers?: RequestHeaders }[];
}

function run(spec: TieredPrometheusTimeSeriesQuerySpec, mode?: 'instant' | 'range') {
  const asked: Asked = { kinds: [], selectors: [], queries: [] };
  const answer = (params: object, headers?: RequestHeaders) => {
    asked.queries.push({ params, headers });
    return Promise.resolve(response);
  };
  const items: DatasourceSelectItemGroup[] = [
    { items: [{ name: 'other', selector: { kind: 'TieredPrometheusDatasource', name: 'other' } }] },
  ];
  const store = {
    getDatasource: (selector: DatasourceSelector) => {
      asked.selectors.push(selector);
      return Promise.resolve({ plugin: { kind: selector.kind, spec: { scrapeInterval: '30s' } } });
    },
    getDatasourceClient: (selector: DatasourceSelector) => {
      asked.selectors.push(selector);
      return Promise.resolve({ instantQuery: answer, rangeQuery: answer });
    },
    listDatasourceSelectItems: (kind: string) => {
      asked.kinds.push(kind);
      return Promise.resolve(items);
    },
  } as unknown as DatasourceStore;
  const context: TimeSeriesQueryContext = {
    mode,
    timeRange: { start: new Date(1_800_000_000_000), end: new Date(1_800_000_600_000) },
    variableState: { ds: { loading: false, value: 'other' }, job: { loading: false, value: 'cart' } },
    datasourceStore: store,
    refreshKey: '',
  };
  return TieredPrometheusTimeSeriesQuery.getTimeSeriesData(spec, context).then((data) => ({ data, asked }));
}

describe('a time series query', () => {
  it('asks the default datasource of our kind, never one of Prometheus', async () => {
    const { data, asked } = await run({ query: 'up{job="$job"}' });
    expect(asked.kinds).toEqual(['TieredPrometheusDatasource']);
    expect(new Set(asked.selectors)).toEqual(new Set([{ kind: 'TieredPrometheusDatasource' }]));
    expect(asked.queries).toEqual([
      {
        params: { query: 'up{job="cart"}', start: 1_800_000_000, end: 1_800_000_600, step: 30 },
        headers: undefined,
      },
    ]);
    expect(data.series).toHaveLength(1);
    expect(data.metadata?.notices).toEqual([{ type: 'warning', message: 'the cold tier is 2h behind' }]);
  });

  it('resolves a datasource variable among the datasources of our kind', async () => {
    const { asked } = await run({ query: 'up', datasource: '$ds' });
    expect(asked.selectors[0]).toMatchObject({ kind: 'TieredPrometheusDatasource', name: 'other' });
  });

  it.each(['range', 'instant'] as const)('asks for the tier that it names: %s', async (mode) => {
    const { asked } = await run({ query: 'up', tier: 'cold' }, mode);
    expect(asked.queries[0]?.headers).toEqual({ 'X-Tier-Choice': 'cold' });
    expect(Object.keys(asked.queries[0]?.params ?? {})).not.toContain('tier');
  });

  it('depends on the variables of its texts', () => {
    const context = {} as TimeSeriesQueryContext;
    const spec: TieredPrometheusTimeSeriesQuerySpec = {
      query: 'rate(up{job="$job"}[$range])',
      seriesNameFormat: '$job of ${cluster}',
      datasource: '$ds',
    };
    expect(TieredPrometheusTimeSeriesQuery.dependsOn?.(spec, context).variables).toEqual([
      'job',
      'range',
      'cluster',
      'ds',
    ]);
  });
});
