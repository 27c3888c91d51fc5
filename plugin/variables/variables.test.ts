import type { DatasourceSelector } from '@perses-dev/core';
import type { DatasourceStore, GetVariableOptionsContext, VariablePlugin } from '@perses-dev/plugin-system';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createClient } from '../model/client';
import { TieredPrometheusLabelNamesVariable } from './tiered-prometheus-label-names-variable/TieredPrometheusLabelNamesVariable';
import { TieredPrometheusLabelValuesVariable } from './tiered-prometheus-label-values-variable/TieredPrometheusLabelValuesVariable';
import { TieredPrometheusPromQLVariable } from './tiered-prometheus-promql-variable/TieredPrometheusPromQLVariable';

const ourKind = 'TieredPrometheusDatasource';

describe('the options of a variable', () => {
  let server: Server;
  let proxyUrl: string;
  let requests: { path: string; parameters: URLSearchParams }[];
  let answer: object | undefined;
  let queryParams: Record<string, string> | undefined;
  let selectors: DatasourceSelector[];
  let kinds: string[];

  beforeEach(async () => {
    requests = [];
    selectors = [];
    kinds = [];
    answer = { status: 'success', data: ['cart', 'search'] };
    queryParams = undefined;
    server = createServer((request, response) => {
      void text(request).then((body) => {
        const url = new URL(request.url ?? '', 'http://localhost');
        requests.push({
          path: url.pathname,
          parameters: new URLSearchParams([...url.searchParams, ...new URLSearchParams(body)]),
        });
        if (answer !== undefined) {
          response.setHeader('Content-Type', 'application/json').end(JSON.stringify(answer));
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    proxyUrl = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  function context(): GetVariableOptionsContext {
    const spec = { queryParams, proxy: { kind: 'HTTPProxy' as const, spec: { url: '' } } };
    const client = createClient(spec, { proxyUrl });
    const store = {
      getDatasource: () => Promise.resolve({ plugin: { kind: ourKind, spec } }),
      getDatasourceClient: (selector: DatasourceSelector) => {
        selectors.push(selector);
        return Promise.resolve(client);
      },
      listDatasourceSelectItems: (kind: string) => {
        kinds.push(kind);
        return Promise.resolve([{ items: [{ name: 'other', selector: { kind: ourKind, name: 'other' } }] }]);
      },
    } as unknown as DatasourceStore;
    return {
      datasourceStore: store,
      variables: {
        ds: { loading: false, value: 'other' },
        lost: { loading: false, value: 'nowhere' },
        job: { loading: false, value: 'cart' },
        label: { loading: false, value: 'pod' },
        awkward: { loading: false, value: ['xx-1 (abc1)', 'a"b'] },
      },
      timeRange: { start: new Date(1_800_000_000_000), end: new Date(1_800_000_600_000) },
    };
  }

  it('are the names of labels in the time range', async () => {
    const options = await TieredPrometheusLabelNamesVariable.getVariableOptions(
      { matchers: ['up{job="$job"}', 'down'] },
      context()
    );
    expect(options.data).toEqual([
      { value: 'cart', label: 'cart' },
      { value: 'search', label: 'search' },
    ]);
    expect(requests[0]?.path).toBe('/api/v1/labels');
    expect(requests[0]?.parameters.toString()).toBe(
      new URLSearchParams([
        ['match[]', 'up{job="cart"}'],
        ['match[]', 'down'],
        ['start', '1800000000'],
        ['end', '1800000600'],
      ]).toString()
    );
    expect(selectors).toEqual([{ kind: ourKind }]);
  });

  it('are the values of a label in the time range', async () => {
    const options = await TieredPrometheusLabelValuesVariable.getVariableOptions(
      { labelName: '$label', datasource: { kind: ourKind, name: 'metrics' } },
      context()
    );
    expect(options.data.map(({ value }) => value)).toEqual(['cart', 'search']);
    expect(requests[0]?.path).toBe('/api/v1/label/pod/values');
    expect(requests[0]?.parameters.toString()).toBe('start=1800000000&end=1800000600');
    expect(selectors).toEqual([{ kind: ourKind, name: 'metrics' }]);
  });

  it('are the values of a label in the result of a query', async () => {
    const series = (pod?: string) => ({ metric: pod === undefined ? {} : { pod }, value: [1_800_000_000, '1'] });
    answer = { status: 'success', data: { resultType: 'vector', result: ['a', 'b', 'a', undefined].map(series) } };
    const options = await TieredPrometheusPromQLVariable.getVariableOptions(
      { expr: 'up{job="$job"}', labelName: '$label' },
      context()
    );
    expect(options.data.map(({ value }) => value)).toEqual(['a', 'b']);
    expect(requests[0]?.path).toBe('/api/v1/query');
    expect(requests[0]?.parameters.toString()).toBe(new URLSearchParams({ query: 'up{job="cart"}' }).toString());
  });

  it('keep the values of other variables what they are, in matchers and in PromQL', async () => {
    const kept = String.raw`up{instance=~"(xx-1 \\(abc1\\)|a\"b)"}`;
    const text = 'up{instance=~"$awkward"}';
    await TieredPrometheusLabelNamesVariable.getVariableOptions({ matchers: [text] }, context());
    await TieredPrometheusLabelValuesVariable.getVariableOptions({ labelName: 'job', matchers: [text] }, context());
    expect(requests.map(({ parameters }) => parameters.get('match[]'))).toEqual([kept, kept]);
    answer = { status: 'success', data: { resultType: 'vector', result: [] } };
    await TieredPrometheusPromQLVariable.getVariableOptions({ expr: text, labelName: 'job' }, context());
    expect(requests[2]?.parameters.get('query')).toBe(kept);
  });

  it('are asked for with the variables of the datasource in its query parameters, and wait for them', async () => {
    queryParams = { namespace: '${awkward:queryparam}' };
    const datasource = { kind: ourKind, name: 'other' } as const;
    await TieredPrometheusLabelValuesVariable.getVariableOptions({ labelName: 'job', datasource }, context());
    expect(requests[0]?.parameters.getAll('namespace')).toEqual(['xx-1 (abc1)', 'a"b']);
    const { dependsOn } = TieredPrometheusLabelNamesVariable;
    expect(dependsOn?.({ datasource }, context())).toEqual({ variables: ['awkward'] });
    expect(dependsOn?.({ datasource: '$ds' }, context())).toEqual({ variables: ['ds', 'awkward'] });
    expect(dependsOn?.({}, context())).toEqual({ variables: [] });
  });

  it.each([
    ['$ds', { kind: ourKind, name: 'other' }],
    ['$lost', { kind: ourKind }],
  ])('come from the datasource that a variable names: %s', async (datasource, selector) => {
    await TieredPrometheusLabelNamesVariable.getVariableOptions({ datasource }, context());
    expect(selectors).toEqual([selector]);
    expect(kinds).toEqual([ourKind]);
  });

  it('are given up when Perses gives up', async () => {
    answer = undefined;
    const abort = new AbortController();
    const options = (
      TieredPrometheusLabelNamesVariable.getVariableOptions as (
        ...parameters: [object, GetVariableOptionsContext, AbortSignal]
      ) => ReturnType<VariablePlugin['getVariableOptions']>
    )({}, context(), abort.signal);
    const arrived = new Promise((resolve) => server.once('request', resolve));
    await arrived;
    abort.abort();
    await expect(options).rejects.toThrow('aborted');
  });
});

describe('a variable', () => {
  const nothing = {} as GetVariableOptionsContext;

  it('waits for the variables of its texts, and for that of its datasource', () => {
    expect(
      TieredPrometheusLabelNamesVariable.dependsOn?.({ matchers: ['up{job="$job"}'], datasource: '$ds' }, nothing)
    ).toEqual({ variables: ['job', 'ds'] });
    expect(TieredPrometheusLabelValuesVariable.dependsOn?.({ labelName: '$label' }, nothing)).toEqual({
      variables: ['label'],
    });
    expect(
      TieredPrometheusPromQLVariable.dependsOn?.({ expr: 'up{job="$job"}', labelName: '${label}' }, nothing)
    ).toEqual({ variables: ['job', 'label'] });
    expect(TieredPrometheusLabelNamesVariable.dependsOn?.({}, nothing)).toEqual({ variables: [] });
  });

  it('begins like one of the Prometheus plugin', () => {
    expect(TieredPrometheusLabelNamesVariable.createInitialOptions()).toEqual({});
    expect(TieredPrometheusLabelValuesVariable.createInitialOptions()).toEqual({ labelName: '' });
    expect(TieredPrometheusPromQLVariable.createInitialOptions()).toEqual({ expr: '', labelName: '' });
  });
});
