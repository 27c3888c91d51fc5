import type { DatasourceStore, TimeSeriesQueryContext, VariableStateMap } from '@perses-dev/plugin-system';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AlertThreshold, TieredPrometheusAlertThresholdQuerySpec } from '../../model/alert-thresholds';
import { formatSeconds } from '../../model/alert-thresholds';
import { createClient } from '../../model/client';
import { DATASOURCE_KIND } from '../../model/spec';
import type { Seen, TestServer } from '../../testing/gateway';
import { startServer } from '../../testing/gateway';
import { getTimeSeriesData, MAX_THRESHOLDS } from './get-time-series-data';
import { TieredPrometheusAlertThresholdQuery } from './TieredPrometheusAlertThresholdQuery';

const highErrors: AlertThreshold = {
  alert: 'HighErrors',
  group: 'web',
  title: 'HighErrors > 0.5',
  query: 'rate(errors_total[5m]) > 0.5',
  right: '0.5',
  metrics: ['errors_total'],
  for: 300,
  labels: { severity: 'critical', team: 'web' },
  state: 'firing',
};
const perJob: AlertThreshold = { ...highErrors, alert: 'Slow', title: 'Slow > limit', right: 'limit', labels: {} };

/** An answer of a tier with a series for each of these labels. */
function matrix(...metrics: object[]): object {
  const result = metrics.map((metric, index) => ({ metric, values: [[1_800_000_000, String(index)]] }));
  return { status: 'success', data: { resultType: 'matrix', result } };
}

let server: TestServer;
let thresholds: unknown;
let query: (request: Seen) => object;
/** Requests for range queries that are not answered yet, and the most of them at a time. */
let inFlight: { now: number; most: number };

beforeEach(async () => {
  thresholds = { status: 'success', data: { thresholds: [highErrors], skipped: [] } };
  query = () => matrix({});
  inFlight = { now: 0, most: 0 };
  server = await startServer((request, response) => {
    if (request.path.endsWith('/alert_thresholds')) {
      response.end(JSON.stringify(thresholds));
      return;
    }
    inFlight.most = Math.max(inFlight.most, ++inFlight.now);
    setTimeout(() => {
      inFlight.now--;
      const body = query(request) as { status?: string };
      response.statusCode = body.status === 'error' ? 422 : 200;
      response.end(JSON.stringify(body));
    }, 20);
  });
});
afterEach(() => server.close());

const requests = (endpoint: string) => server.seen.filter(({ path }) => path.endsWith(`/${endpoint}`));

function run(
  spec: TieredPrometheusAlertThresholdQuerySpec,
  variableState: VariableStateMap = {},
  more: Partial<TimeSeriesQueryContext> = {},
  signal?: AbortSignal
) {
  const proxy = { kind: 'HTTPProxy' as const, spec: { url: '' } };
  const datasource = { scrapeInterval: '30s' as const, queryParams: { tenant: '$tenant' }, proxy };
  const store = {
    getDatasource: () => Promise.resolve({ plugin: { kind: DATASOURCE_KIND, spec: datasource } }),
    getDatasourceClient: () => Promise.resolve(createClient(datasource, { proxyUrl: server.url })),
    listDatasourceSelectItems: () => Promise.resolve([]),
  } as unknown as DatasourceStore;
  const timeRange = { start: new Date(1_800_000_000_000), end: new Date(1_800_000_600_000) };
  const context = { timeRange, variableState, datasourceStore: store, refreshKey: '', ...more };
  return getTimeSeriesData(spec, context, signal);
}

const found = (all: AlertThreshold[], skipped: object[] = [], warnings?: string[]) => {
  thresholds = { status: 'success', data: { thresholds: all, skipped }, warnings };
};

describe('the lines of thresholds', () => {
  it('are named by the comparison, and say what the rule says', async () => {
    const data = await run({ alerts: ['HighErrors'] });
    expect(data.series).toEqual([
      {
        name: 'HighErrors > 0.5',
        formattedName: 'HighErrors > 0.5',
        values: [[1_800_000_000_000, 0]],
        labels: { alertname: 'HighErrors', severity: 'critical', team: 'web', for: '5m', state: 'firing' },
      },
    ]);
    expect(data.metadata).toEqual({ notices: [], executedQueryString: '0.5' });
    expect(data.stepMs).toBe(30_000);
  });

  it('end with the labels of their series where there are several', async () => {
    found([perJob]);
    query = () => matrix({ __name__: 'limit', job: 'cart' }, { __name__: 'limit', job: 'search' });
    const data = await run({});
    expect(data.series.map(({ name }) => name)).toEqual(['Slow > limit {job="cart"}', 'Slow > limit {job="search"}']);
    expect(data.series[0]?.labels).toEqual({
      __name__: 'limit',
      job: 'cart',
      alertname: 'Slow',
      for: '5m',
      state: 'firing',
    });
  });

  it('are asked over the range and the step of the panel, with the PromQL of the rule as it is', async () => {
    found([{ ...perJob, right: 'label_replace(limit, "a", "$job", "b", "$__interval")' }]);
    await run(
      { minStep: '$step' as '1m' },
      { job: { loading: false, value: 'x' }, step: { loading: false, value: '2m' } }
    );
    expect(requests('query_range')[0]?.parameters).toEqual({
      query: ['label_replace(limit, "a", "$job", "b", "$__interval")'],
      start: ['1800000000'],
      end: ['1800000600'],
      step: ['120'],
      tenant: ['$tenant'],
    });
  });

  it('are the newest ones where the panel asks for them', async () => {
    query = () => ({ status: 'success', data: { resultType: 'scalar', result: [1_800_000_600, '0.5'] } });
    const data = await run({}, {}, { mode: 'instant' });
    expect(requests('query')[0]?.parameters).toMatchObject({ query: ['0.5'], time: ['1800000600'] });
    expect(data.series).toMatchObject([{ name: 'HighErrors > 0.5', values: [[1_800_000_600_000, 0.5]] }]);
  });

  it('ask once for equal threshold sides, and for few at once', async () => {
    found(Array.from({ length: 40 }, (_, index) => ({ ...highErrors, right: String(index % 20) })));
    const data = await run({});
    expect(data.series).toHaveLength(40);
    expect(requests('query_range')).toHaveLength(20);
    expect(inFlight.most).toBeLessThanOrEqual(4);
    expect(data.metadata?.executedQueryString?.split('\n')).toEqual(Array.from({ length: 20 }, (_, i) => String(i)));
  });
});

describe('the choice of rules', () => {
  const cart = (value: string | string[]) => ({ loading: false, value });

  it('asks for everything that is set, with variables', async () => {
    await run(
      {
        alerts: ['HighErrors', '$alert', ' '],
        matchers: ['severity=~"$severity"', '', "team!='a'"],
        metric: '$metric',
      },
      { alert: cart(['A', 'B']), severity: cart(['a.b', 'c']), metric: cart('errors_total'), tenant: cart('t') }
    );
    expect(requests('alert_thresholds').map(({ method, parameters }) => ({ method, parameters }))).toEqual([
      {
        method: 'POST',
        parameters: {
          alert: ['HighErrors', 'A', 'B'],
          'match[]': [String.raw`{severity=~"(a\\.b|c)",team!='a'}`],
          metric: ['errors_total'],
          tenant: ['t'],
        },
      },
    ]);
  });

  it('asks for all rules where nothing is set', async () => {
    await run({ alerts: [], matchers: [] }, { tenant: cart([]) });
    expect(requests('alert_thresholds')[0]?.parameters).toEqual({});
  });

  it.each([{ alerts: ['$v'] }, { metric: '$v' }])('asks for none where a variable has no value: %j', async (spec) => {
    for (const empty of [[], '']) {
      const data = await run(spec, { v: cart(empty) });
      expect(data.series).toEqual([]);
      expect(data.metadata?.notices?.[0]?.message).toContain('has no value');
    }
    expect(server.seen).toEqual([]);
  });

  it('depends on the variables of its texts', () => {
    const spec = {
      datasource: '$ds' as const,
      alerts: ['$a'],
      matchers: ['$l="$b"'],
      metric: '$c',
      minStep: '$d' as '1m',
    };
    const context = {} as TimeSeriesQueryContext;
    expect(TieredPrometheusAlertThresholdQuery.dependsOn?.(spec, context).variables).toEqual(
      expect.arrayContaining(['a', 'l', 'b', 'c', 'd', 'ds'])
    );
  });
});

describe('the notice of thresholds', () => {
  const message = async (spec: TieredPrometheusAlertThresholdQuerySpec = {}) =>
    (await run(spec)).metadata?.notices?.map(({ type, message: text }) => `${type}: ${text}`);
  const skip = (alert: string) => ({ alert, group: 'web', query: 'absent(up)', reason: 'it compares nothing' });

  it('tells rules without a threshold, and alerts without a rule', async () => {
    found([highErrors], [skip('Missing')]);
    expect(await message({ alerts: ['HighErrors', 'Missing', 'Typo'] })).toEqual([
      'info: no alerting rule matches: Typo\nMissing has no threshold: it compares nothing',
    ]);
    found([highErrors], [skip('HighErrors')]);
    expect(await message()).toEqual(['info: a part of HighErrors has no threshold: it compares nothing']);
    found([]);
    expect(await message()).toEqual(['info: no alerting rule matches']);
  });

  it('lists ten of many rules', async () => {
    found(
      [],
      Array.from({ length: 12 }, (_, index) => skip(`Rule${String(index)}`))
    );
    const lines = (await message())?.[0]?.split('\n') ?? [];
    expect(lines).toHaveLength(11);
    expect(lines.at(-1)).toBe('and 2 more');
  });

  it('warns of what the gateway and the tiers warn of, once', async () => {
    found([highErrors, perJob], [], ['cold is down']);
    query = () => ({ ...matrix({}), warnings: ['hot is behind'] });
    expect(await message()).toEqual(['warning: cold is down\nhot is behind']);
  });

  it('warns of more thresholds than are drawn', async () => {
    found(Array.from({ length: MAX_THRESHOLDS + 1 }, () => highErrors));
    const data = await run({});
    expect(data.series).toHaveLength(MAX_THRESHOLDS);
    expect(data.metadata?.notices?.[0]).toEqual({
      type: 'warning',
      message: '50 of 51 thresholds are drawn: choose fewer rules by alert name, label or metric',
    });
  });

  it('names the line that is missing where one query fails', async () => {
    found([highErrors, perJob]);
    query = ({ parameters }) =>
      String(parameters.query) === 'limit' ? { status: 'error', error: 'too many series' } : matrix({});
    const data = await run({});
    expect(data.series).toHaveLength(1);
    expect(data.metadata?.notices?.[0]?.message).toBe('Slow > limit is not drawn: too many series');
  });
});

describe('an error', () => {
  it('is that of the queries where all fail', async () => {
    query = () => ({ status: 'error', error: 'too many series' });
    await expect(run({})).rejects.toThrow('too many series');
  });

  it('is that of the gateway where it tells no thresholds', async () => {
    thresholds = 'no object';
    await expect(run({})).rejects.toThrow('is not JSON');
  });

  it('ends the query with the signal of Perses', async () => {
    const controller = new AbortController();
    found([highErrors, perJob]);
    query = () => {
      controller.abort();
      return matrix({});
    };
    await expect(run({}, {}, {}, controller.signal)).rejects.toMatchObject({ name: 'AbortError' });
  });
});

it.each([
  [0, '0s'],
  [90, '1m30s'],
  [86_400 * 2 + 3_600, '2d1h'],
])('writes %d seconds as Prometheus does', (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});
