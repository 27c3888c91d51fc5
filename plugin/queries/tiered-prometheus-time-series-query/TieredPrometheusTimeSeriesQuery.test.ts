import type { DatasourceSelector, RequestHeaders } from '@perses-dev/core';
import type { DatasourceSelectItemGroup, DatasourceStore, TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import { describe, expect, it } from 'vitest';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { explainTimeSeriesQuery } from './get-time-series-data';
import { TieredPrometheusTimeSeriesQuery } from './TieredPrometheusTimeSeriesQuery';

const answered = {
  status: 'success',
  warnings: ['the cold tier is 2h behind', 'a second warning'],
  rawResponse: new Response('', { headers: { 'X-Tier': 'cold', 'X-Tier-Reason': 'not-in-hot' } }),
  data: {
    resultType: 'matrix',
    result: [{ metric: { __name__: 'up', job: 'cart' }, values: [[1_800_000_000, '1']] }],
  },
};

/** What a query asked the store of Perses for. */
interface Asked {
  kinds: string[];
  selectors: DatasourceSelector[];
  queries: { endpoint: string; params: object; headers?: RequestHeaders; signal?: AbortSignal }[];
}

/** A store of Perses with a client that answers every query; and what both were asked for. */
function perses(mode?: 'instant' | 'range'): { context: TimeSeriesQueryContext; asked: Asked } {
  const asked: Asked = { kinds: [], selectors: [], queries: [] };
  const ask =
    <Body>(endpoint: string, body: Body) =>
    (params: object, headers?: RequestHeaders, signal?: AbortSignal) => {
      asked.queries.push({ endpoint, params, headers, signal });
      return Promise.resolve(body);
    };
  const client = {
    instantQuery: ask('query', answered),
    rangeQuery: ask('query_range', answered),
    explain: ask('explain', { tier: 'cold', reason: 'not-in-hot', sentence: 'cold answers' }),
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
      return Promise.resolve(client);
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
  return { context, asked };
}

async function run(spec: TieredPrometheusTimeSeriesQuerySpec, mode?: 'instant' | 'range') {
  const { context, asked } = perses(mode);
  return { data: await TieredPrometheusTimeSeriesQuery.getTimeSeriesData(spec, context), asked };
}

describe('a time series query', () => {
  it('asks the default datasource of our kind, never one of Prometheus', async () => {
    const { data, asked } = await run({ query: 'up{job="$job"}' });
    expect(asked.kinds).toEqual([]);
    expect(new Set(asked.selectors)).toEqual(new Set([{ kind: 'TieredPrometheusDatasource' }]));
    expect(asked.queries).toEqual([
      {
        endpoint: 'query_range',
        params: { query: 'up{job="cart"}', start: 1_800_000_000, end: 1_800_000_600, step: 30 },
      },
    ]);
    expect(data.series).toHaveLength(1);
    expect(data.metadata?.executedQueryString).toBe('up{job="cart"}');
  });

  it.each(['range', 'instant'] as const)('tells what answered, with all warnings, in one notice: %s', async (mode) => {
    const { data } = await run({ query: 'up' }, mode);
    expect(data.metadata?.notices).toEqual([
      {
        type: 'warning',
        message: [
          'cold answered: hot may not hold every series that the query asks for (not-in-hot)',
          'the cold tier is 2h behind',
          'a second warning',
        ].join('\n'),
      },
    ]);
  });

  it('resolves a datasource variable among the datasources of our kind', async () => {
    const { asked } = await run({ query: 'up', datasource: '$ds' });
    expect(asked.kinds).toEqual(['TieredPrometheusDatasource']);
    expect(asked.selectors[0]).toMatchObject({ kind: 'TieredPrometheusDatasource', name: 'other' });
  });

  it.each(['range', 'instant'] as const)('asks for the tier that it names: %s', async (mode) => {
    const plain = (await run({ query: 'up' }, mode)).asked.queries;
    const forced = (await run({ query: 'up', tier: 'cold' }, mode)).asked.queries;
    expect(plain).toHaveLength(1);
    expect(plain).toMatchObject([{ params: { query: 'up' }, headers: undefined }]);
    expect(forced).toEqual([{ ...plain[0], headers: { 'X-Tier-Choice': 'cold' } }]);
  });

  it.each([
    [true, undefined, 'query'],
    [true, 'range', 'query'],
    [true, 'instant', 'query'],
    [false, undefined, 'query_range'],
    [false, 'range', 'query_range'],
    [false, 'instant', 'query'],
  ] as const)('with instant %s is asked in a panel of mode %s at %s', async (instant, mode, endpoint) => {
    const { asked } = await run({ query: 'up', instant, tier: 'hot' }, mode);
    expect(asked.queries).toMatchObject([{ endpoint, headers: { 'X-Tier-Choice': 'hot' } }]);
  });

  it('ends with the signal of Perses', async () => {
    const { context, asked } = perses();
    const { signal } = new AbortController();
    const { getTimeSeriesData } = TieredPrometheusTimeSeriesQuery as {
      getTimeSeriesData: (...all: unknown[]) => unknown;
    };
    await getTimeSeriesData({ query: 'up' }, context, signal);
    expect(asked.queries[0]?.signal).toBe(signal);
  });

  it('asks nobody without an expression', async () => {
    const { data, asked } = await run({ query: '' });
    expect(data).toMatchObject({ series: [], metadata: { notices: [] } });
    expect(asked.queries).toEqual([]);
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

describe('the explanation of a time series query', () => {
  it('is of the request that the query would send, which it does not send', async () => {
    const { context, asked } = perses();
    const { signal } = new AbortController();
    expect(await explainTimeSeriesQuery({ query: 'up{job="$job"}', tier: 'hot' }, context, signal)).toEqual({
      tier: 'cold',
      reason: 'not-in-hot',
      sentence: 'cold answers',
    });
    expect(asked.queries).toEqual([
      {
        endpoint: 'explain',
        params: {
          endpoint: 'query_range',
          query: 'up{job="cart"}',
          start: 1_800_000_000,
          end: 1_800_000_600,
          step: 30,
        },
        headers: { 'X-Tier-Choice': 'hot' },
        signal,
      },
    ]);
  });

  it('is of an instant query where the panel asks for one', async () => {
    const { context, asked } = perses('instant');
    await explainTimeSeriesQuery({ query: 'up' }, context);
    expect(asked.queries[0]?.params).toEqual({ endpoint: 'query', query: 'up', time: 1_800_000_600 });
  });

  it('is of an instant query where the query itself is one', async () => {
    const { context, asked } = perses('range');
    await explainTimeSeriesQuery({ query: 'up', instant: true }, context);
    expect(asked.queries[0]?.params).toEqual({ endpoint: 'query', query: 'up', time: 1_800_000_600 });
  });

  it('is left out without an expression', async () => {
    const { context } = perses();
    expect(await explainTimeSeriesQuery({ query: '' }, context)).toBeUndefined();
  });
});
