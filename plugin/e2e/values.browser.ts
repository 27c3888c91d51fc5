import type { Request } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { create, environment } from './environment';
import { panelOf } from './page';
import { tieredDatasource } from './panels';

// Values of variables that mean something in PromQL. There are series that they match as regular expressions, too.

const { raw } = String;

/** Values that are chosen. The series of "xx-1 abc1", "e-f" and "g" are not asked for. */
const sites = ['xx-1 (abc1)', 'a"b', raw`c\d`, 'e.f|g'];

/** The end of the time range, which is no multiple of a step. */
const end = Date.now() - 61_234;

const datasource = { kind: DATASOURCE_KIND, name: 'values' };

const panel = (name: string, plugin: object, query: string): object => ({
  kind: 'Panel',
  spec: {
    display: { name },
    plugin,
    queries: [
      {
        kind: 'TimeSeriesQuery',
        spec: {
          plugin: {
            kind: 'TieredPrometheusTimeSeriesQuery',
            spec: { datasource, query, seriesNameFormat: '<{{site}}>' },
          },
        },
      },
    ],
  },
});

const chart = { kind: 'TimeSeriesChart', spec: { legend: { position: 'bottom', mode: 'list' } } };
const table = {
  kind: 'Table',
  spec: { columnSettings: ['__name__', 'timestamp'].map((name) => ({ name, hide: true })) },
};

const panels = {
  several: panel('Several', chart, 'stock{site=~"$site"}'),
  one: panel('One', chart, 'stock{site="$one"}'),
  all: panel('All', chart, "stock{site=~'$all'}"),
  table: panel('Table', table, 'stock{site=~"${site:regex}"}'),
  both: panel('Error', chart, 'stock{site="$site"}'),
};

const list = (name: string, spec: object): object => ({
  kind: 'ListVariable',
  spec: {
    name,
    allowMultiple: false,
    allowAllValue: false,
    plugin: { kind: 'StaticListVariable', spec: { values: sites } },
    ...spec,
  },
});

let tab: Tab;
const requests: Request[] = [];

/** The forms that were sent to an endpoint. */
const sent = (endpoint: string): URLSearchParams[] =>
  requests
    .filter((request) => new URL(request.url()).pathname.endsWith(`/api/v1/${endpoint}`))
    .map((request) => new URLSearchParams(request.postData() ?? ''));

beforeAll(async () => {
  const resource = tieredDatasource('values', environment.gateway) as { spec: { plugin: { spec: object } } };
  Object.assign(resource.spec.plugin.spec, { queryParams: { namespace: '${site:queryparam}' } });
  await create('/api/v1/globaldatasources', resource);
  await create('/api/v1/projects/shop/dashboards', {
    kind: 'Dashboard',
    metadata: { project: 'shop', name: 'values' },
    spec: {
      duration: '5m',
      variables: [
        list('site', { allowMultiple: true, defaultValue: sites }),
        list('one', {
          defaultValue: raw`c\d`,
          plugin: {
            kind: 'TieredPrometheusLabelValuesVariable',
            spec: { datasource, labelName: 'site', matchers: ['stock{site=~"$site"}'] },
          },
        }),
        list('all', { allowAllValue: true, customAllValue: 'xx-1 .*|g', defaultValue: '$__all' }),
      ],
      panels,
      layouts: [
        {
          kind: 'Grid',
          spec: {
            items: Object.keys(panels).map((name, index) => ({
              ...{ x: 12 * (index % 2), y: 8 * Math.floor(index / 2), width: 12, height: 8 },
              content: { $ref: `#/spec/panels/${name}` },
            })),
          },
        },
      ],
    },
  });
  // The table does not run on 0.53.
  tab = await Tab.open('values', environment.page052);
  tab.page.on('request', (request) => requests.push(request));
});

afterAll(() => tab.close());

// Perses writes the error of a panel to the console.
afterEach((context) => tab.examine(context, [/The variable "site" has several values/]));

it('keeps the values of variables what they are', async () => {
  const { page } = tab;
  await tab.goto(`/projects/shop/dashboards/values?start=${String(end - 300_000)}&end=${String(end)}`);
  const shown = async (title: string): Promise<string[]> =>
    [...(await panelOf(page, title).innerText()).matchAll(/<([^>]*)>/g)].map(([, site]) => site).sort();
  await expect.poll(() => shown('Several')).toEqual([...sites].sort());
  await expect.poll(() => shown('One')).toEqual([raw`c\d`]);
  await expect.poll(() => shown('All')).toEqual(['g', 'xx-1 (abc1)', 'xx-1 abc1']);
  await expect.poll(() => panelOf(page, 'Error').innerText()).toContain('write =~"$site"');
  for (const site of sites) {
    await panelOf(page, 'Table').getByRole('cell', { name: site, exact: true }).waitFor();
  }
  await tab.shoot('panels', { height: 1400 });
});

it('sends the variables of query parameters, and asks for the table at the end of the time range', () => {
  const [instant] = sent('query');
  expect(instant.get('time')).toBe(String(end / 1000));
  expect(instant.get('query')).toBe(raw`stock{site=~"(xx\\-1 \\(abc1\\)|a\"b|c\\\\d|e\\.f\\|g)"}`);
  for (const parameters of [...sent('query'), ...sent('query_range')]) {
    expect(parameters.getAll('namespace')).toEqual(sites);
  }
});
