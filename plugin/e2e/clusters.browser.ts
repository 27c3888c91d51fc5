import type { Locator } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { create, environment, read } from './environment';
import { choose, chooseTimeRange, noticeOf, typeQuery } from './page';

// One datasource over the Prometheus of two clusters, and a Thanos with both.

let tab: Tab;
let form: Locator;

// It sorts behind the datasources of other tests: Perses takes the first of a kind where none is chosen.
const name = 'several-clusters';
const { eu, us, broken, cold } = environment.clusters;
const proxy = {
  kind: 'HTTPProxy',
  spec: { url: `${environment.gateway}/proxy/globaldatasources/${name}` },
};

const dashboard = {
  kind: 'Dashboard',
  metadata: { project: 'shop', name },
  spec: {
    duration: '5m',
    variables: [
      {
        kind: 'ListVariable',
        spec: {
          name: 'cluster',
          allowAllValue: false,
          allowMultiple: false,
          defaultValue: 'eu-1',
          plugin: {
            kind: 'TieredPrometheusLabelValuesVariable',
            spec: { datasource: { kind: DATASOURCE_KIND, name }, labelName: 'cluster', matchers: ['stock'] },
          },
        },
      },
    ],
    panels: {
      stock: {
        kind: 'Panel',
        spec: {
          display: { name: 'Stock' },
          plugin: { kind: 'TimeSeriesChart', spec: { legend: { position: 'bottom', mode: 'list' } } },
          queries: [
            {
              kind: 'TimeSeriesQuery',
              spec: {
                plugin: {
                  kind: 'TieredPrometheusTimeSeriesQuery',
                  spec: {
                    datasource: { kind: DATASOURCE_KIND, name },
                    query: 'sum by (site) (stock{cluster="$cluster"})',
                    seriesNameFormat: '{{site}}',
                  },
                },
              },
            },
          ],
        },
      },
    },
    layouts: [
      {
        kind: 'Grid',
        spec: { items: [{ x: 0, y: 0, width: 16, height: 10, content: { $ref: '#/spec/panels/stock' } }] },
      },
    ],
  },
};

beforeAll(async () => {
  tab = await Tab.open('clusters');
  form = tab.page.getByTestId('datasource-editor');
});

afterAll(() => tab.close());

afterEach((context) => tab.examine(context));

/** The fields of a hot tier. */
function hot(index: number): Locator {
  return form.getByRole('region', { name: `Hot tier ${String(index)}`, exact: true });
}

it('takes three hot tiers, and shows which of them is broken', async () => {
  const { page } = tab;
  await tab.goto('/admin/datasources');
  await page.getByRole('button', { name: 'Add datasource' }).click();
  await choose(form, 'Source', 'Tiered Prometheus Datasource');
  await form.getByRole('textbox', { name: 'Name', exact: true }).first().fill(name);
  await form.getByLabel('Proxy URL').fill(proxy.spec.url);
  const first = form.getByRole('region', { name: 'Hot tier', exact: true });
  await first.getByRole('radio', { name: 'URL' }).check();
  await first.getByRole('textbox', { name: 'URL' }).fill(eu);
  await first.getByRole('textbox', { name: 'Name' }).fill('eu-1');
  for (const [index, tierName, url] of [
    [2, 'us-1', us],
    [3, 'asia-1', broken],
  ] as const) {
    await form.getByRole('button', { name: 'Add hot tier' }).click();
    await hot(index).getByRole('textbox', { name: 'URL' }).fill(url);
    await hot(index).getByRole('textbox', { name: 'Name' }).fill(tierName);
  }
  const coldTier = form.getByRole('region', { name: 'Cold tier', exact: true });
  await coldTier.getByRole('radio', { name: 'URL' }).check();
  await coldTier.getByRole('textbox', { name: 'URL' }).fill(cold);
  await form.getByRole('button', { name: 'Check' }).click();
  await form.getByText('This datasource does not work as it is').waitFor();
  await hot(1).getByText('reachable', { exact: true }).waitFor();
  await hot(2).getByText('reachable', { exact: true }).waitFor();
  await hot(3).getByText('connection refused', { exact: true }).waitFor();
  const report = (of: string): Promise<string> =>
    form.getByRole('region', { name: `Hot tier ${of}: report` }).innerText();
  expect(await report('eu-1')).toContain('cluster="eu-1"');
  expect(await report('us-1')).toContain('cluster="us-1"');
  expect(await report('asia-1')).toContain('check the port');
  await tab.shoot('broken', { height: 3000 });
});

it('is saved as a list without the broken tier', async () => {
  await form.getByRole('button', { name: 'Remove hot tier 3' }).click();
  await form.getByRole('button', { name: 'Check' }).click();
  await form.getByText('This datasource works.').waitFor();
  await form.getByRole('button', { name: 'Save' }).click();
  await form.waitFor({ state: 'detached' });
  const saved = (await read(`/api/v1/globaldatasources/${name}`)) as { spec: { plugin: { spec: object } } };
  expect(saved.spec.plugin.spec).toEqual({
    hot: [
      { name: 'eu-1', url: eu },
      { name: 'us-1', url: us },
    ],
    cold: { url: cold },
    proxy,
  });
});

it('says in Explore which source answered', async () => {
  const { page } = tab;
  const strip = (): Promise<string> => page.getByRole('status', { name: 'What answered' }).innerText();
  await tab.goto('/explore');
  await page.getByRole('tab', { name: 'Tiered Prometheus Explorer' }).click();
  await choose(page, 'Tiered Prometheus Datasource', /^several-clusters/);
  await chooseTimeRange(page, 'Last 5 minutes');
  for (const cluster of ['eu-1', 'us-1']) {
    await typeQuery(page, `sum by (site) (stock{cluster="${cluster}"})`);
    await page.getByRole('button', { name: 'Run Query' }).click();
    await expect.poll(strip).toMatch(new RegExp(`hot\\s+\\{cluster="${cluster}"\\}\\s+below-threshold`));
  }
  await tab.shoot('explore', { height: 1200 });
  // Both clusters at once: no source of hot has them.
  await typeQuery(page, 'sum by (cluster) (stock)');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await expect.poll(strip).toMatch(/cold\s+not-in-hot/);
});

it('asks another source where the value of a variable changes', async () => {
  const { page } = tab;
  await create('/api/v1/projects/shop/dashboards', dashboard);
  await tab.goto(`/projects/shop/dashboards/${name}`);
  const why = 'the query reads less than the threshold at once (below-threshold)';
  await expect.poll(() => noticeOf(page, 'Stock')).toBe(`hot {cluster="eu-1"} answered: ${why}`);
  await choose(page, 'cluster', 'us-1');
  await expect.poll(() => noticeOf(page, 'Stock')).toBe(`hot {cluster="us-1"} answered: ${why}`);
  await tab.settle();
  await tab.shoot('variable');
});
