import type { DatasourceSelector } from '@perses-dev/core';
import type { DatasourceStore } from '@perses-dev/plugin-system';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TieredPrometheusPromQLAnnotationSpec } from '../model/annotation-spec';
import { firingAlerts } from '../model/annotation-spec';
import { createClient } from '../model/client';
import { DATASOURCE_KIND } from '../model/spec';
import type { TestServer } from '../testing/gateway';
import { startServer } from '../testing/gateway';
import type { AnnotationContext } from './perses-054';
import { TieredPrometheusPromQLAnnotation } from './tiered-prometheus-promql-annotation/TieredPrometheusPromQLAnnotation';

let server: TestServer;
/** The series of the next answer; undefined: the server answers nothing at all. */
let result: object[] | undefined;

beforeAll(async () => {
  server = await startServer((_, response) => {
    if (result !== undefined) {
      response.end(JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } }));
    }
  });
});
beforeEach(() => {
  server.seen.splice(0);
  result = [];
});
afterAll(() => server.close());

/** A series with samples at these minutes of the time range. */
const series = (metric: object, ...minutes: number[]) => ({
  metric,
  values: minutes.map((minute) => [at(minute) / 1000, '1']),
});

/** A minute of the time range, in milliseconds. */
const at = (minute: number): number => 1_800_000_000_000 + minute * 60_000;

function context(selectors: DatasourceSelector[] = []): AnnotationContext {
  const spec = { scrapeInterval: '1m' as const, queryParams: { namespace: '$team' } };
  const proxy = { kind: 'HTTPProxy' as const, spec: { url: '' } };
  const client = createClient({ ...spec, proxy }, { proxyUrl: server.url });
  return {
    datasourceStore: {
      getDatasource: () => Promise.resolve({ plugin: { kind: DATASOURCE_KIND, spec } }),
      getDatasourceClient: (selector: DatasourceSelector) => {
        selectors.push(selector);
        return Promise.resolve(client);
      },
      listDatasourceSelectItems: () =>
        Promise.resolve([{ items: [{ name: 'other', selector: { kind: DATASOURCE_KIND, name: 'other' } }] }]),
    } as unknown as DatasourceStore,
    absoluteTimeRange: { start: new Date(at(0) + 1234), end: new Date(at(60) + 5678) },
    variableState: {
      job: { loading: false, value: ['a.b', 'c'] },
      team: { loading: false, value: ['red', 'blue'] },
      ds: { loading: false, value: 'other' },
      place: { loading: false, value: 'Berlin' },
    },
  };
}

const annotate = (spec: TieredPrometheusPromQLAnnotationSpec, signal?: AbortSignal) =>
  TieredPrometheusPromQLAnnotation.getAnnotationData(spec, context(), signal);

describe('an annotation', () => {
  it('asks for the range of the dashboard, aligned to the step, with the variables of its expression', async () => {
    await annotate({ expr: 'up{job=~"$job"} == 0' });
    expect(server.seen).toMatchObject([
      {
        path: '/api/v1/query_range',
        parameters: {
          query: [String.raw`up{job=~"(a\\.b|c)"} == 0`],
          start: [String(at(0) / 1000)],
          end: [String(at(60) / 1000)],
          step: ['60'],
          namespace: ['red', 'blue'],
        },
      },
    ]);
    expect(server.seen[0]?.headers['x-tier-choice']).toBeUndefined();
  });

  it('asks nobody without an expression', async () => {
    expect(await annotate({ expr: '' })).toEqual([]);
    expect(server.seen).toEqual([]);
  });

  it('marks each series from its first sample to its last one', async () => {
    result = [series({ pod: 'a' }, 3, 4, 9), series({ pod: 'b' }, 7), series({}), series({}, 1)];
    expect(await annotate({ expr: 'x' })).toEqual([
      { start: at(3), end: at(9), title: undefined, legend: undefined, tags: { pod: 'a' } },
      { start: at(7), end: at(7), title: undefined, legend: undefined, tags: { pod: 'b' } },
      { start: at(1), end: at(1), title: undefined, legend: undefined, tags: {} },
    ]);
  });

  it('marks a series anew after each gap where it is split', async () => {
    result = [series({}, 0, 1, 3, 4, 5, 9)];
    const spans = (await annotate({ expr: 'x', splitAtGaps: true })).map(({ start, end }) => [start, end]);
    expect(spans).toEqual([
      [at(0), at(1)],
      [at(3), at(5)],
      [at(9), at(9)],
    ]);
  });

  it('names its labels and variables in title and legend, and lists the labels that it asks for', async () => {
    result = [series({ pod: 'a', node: 'n' }, 1)];
    const spec = { expr: 'x', title: '{{pod}} in $place{{gone}}', legend: '{{ node }}!', tags: ['node', 'gone'] };
    expect(await annotate(spec)).toMatchObject([{ title: 'a in Berlin', legend: 'n!', tags: { node: 'n' } }]);
    expect((await annotate({ expr: 'x', title: '', tags: [] }))[0]).toMatchObject({
      title: undefined,
      tags: { pod: 'a', node: 'n' },
    });
  });

  it('marks the sums of native histograms', async () => {
    const histogram = { count: '1', sum: '2', buckets: [] };
    result = [{ metric: {}, histograms: [1, 2].map((minute) => [at(minute) / 1000, histogram]) }];
    expect(await annotate({ expr: 'x' })).toMatchObject([{ start: at(1), end: at(2) }]);
  });

  it('ends with the signal of Perses', async () => {
    result = undefined;
    const abort = new AbortController();
    const data = annotate({ expr: 'x' }, abort.signal);
    await expect.poll(() => server.seen.length).toBe(1);
    abort.abort();
    await expect(data).rejects.toThrow('aborted');
  });

  it('asks the datasource of our kind that it names', async () => {
    const selectors: DatasourceSelector[] = [];
    const of = (datasource?: TieredPrometheusPromQLAnnotationSpec['datasource']) =>
      TieredPrometheusPromQLAnnotation.getAnnotationData({ expr: 'x', datasource }, context(selectors));
    await of();
    await of('$ds');
    expect(selectors).toEqual([{ kind: DATASOURCE_KIND }, { kind: DATASOURCE_KIND, name: 'other' }]);
  });

  it('waits for the variables of its texts, and of its datasource', async () => {
    const { dependsOn } = TieredPrometheusPromQLAnnotation;
    const spec = { expr: 'up{job=~"$job"}', title: '$place', legend: '${other}', datasource: '$ds' } as const;
    expect(dependsOn?.(spec, context())).toEqual({ variables: ['job', 'place', 'other', 'ds', 'team'] });
    expect(TieredPrometheusPromQLAnnotation.createInitialOptions()).toEqual({ expr: '' });
    await annotate({ expr: 'x' });
    expect(dependsOn?.({ expr: 'x' }, context())).toEqual({ variables: ['team'] });
  });
});

describe('the preset for firing alerts', () => {
  it('marks each time that an alert fired, by its name', async () => {
    const labels = { __name__: 'ALERTS', alertname: 'HighLoad', alertstate: 'firing', severity: 'page' };
    result = [series(labels, 1, 2, 3, 20, 21)];
    expect(await annotate(firingAlerts)).toEqual(
      [
        [1, 3],
        [20, 21],
      ].map(([start = 0, end = 0]) => ({
        start: at(start),
        end: at(end),
        title: 'HighLoad',
        legend: 'HighLoad was firing',
        tags: labels,
      }))
    );
    expect(server.seen[0]?.parameters.query).toEqual(['ALERTS{alertstate="firing"}']);
  });
});
