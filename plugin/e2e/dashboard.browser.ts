import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { create, environment, read } from './environment';
import { choose, chooseTimeRange, noticeOf, panelOf, save, typeQuery } from './page';
import { tieredDatasource } from './panels';

let tab: Tab;

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('dashboard', environment.gateway));
  tab = await Tab.open('dashboard');
});

afterAll(() => tab.close());

afterEach((context) => tab.examine(context));

const explanation = { name: 'Where this query goes' };

it('gets a panel, whose query is completed and explained while it is typed', async () => {
  const { page } = tab;
  await tab.goto('/dashboards');
  await page.getByRole('button', { name: 'New dashboard' }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill('clicked');
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('button', { name: 'Edit dashboard' }).click();
  await page.getByRole('button', { name: 'Add panel', exact: true }).first().click();
  await page.getByRole('textbox', { name: 'Name' }).fill('Requests');
  // Perses has none by default, if the kind of panel is not loaded yet.
  await choose(page, /^Type/, 'Time Series Chart');
  await choose(page, 'Tiered Prometheus Datasource', /^dashboard/);

  const editor = page.getByRole('textbox', { name: 'PromQL Expression' });
  await editor.click();
  await page.keyboard.type('http_requests_t');
  await page.getByRole('option', { name: 'http_requests_total' }).waitFor();
  await tab.shoot('completion');
  await typeQuery(page, 'sum by (job) (rate(http_requests_total[$__rate_interval]))');
  await expect
    .poll(() => page.getByRole('status', explanation).innerText())
    .toMatch(/^hot answers: .* less than the threshold of 15m/);
  await page.getByRole('textbox', { name: 'Legend' }).fill('{{job}}');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await expect.poll(() => page.getByTestId('panel').locator('canvas').count()).toBeGreaterThan(0);
  await tab.shoot('panel-editor', { height: 1200 });
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await save(page, 'clicked');
  const { spec } = (await read('/api/v1/projects/shop/dashboards/clicked')) as { spec: { panels: object } };
  const plugin = {
    kind: 'TieredPrometheusTimeSeriesQuery',
    spec: {
      query: 'sum by (job) (rate(http_requests_total[$__rate_interval]))',
      datasource: { kind: DATASOURCE_KIND, name: 'dashboard' },
      seriesNameFormat: '{{job}}',
    },
  };
  expect(Object.values(spec.panels)).toMatchObject([
    { spec: { queries: [{ kind: 'TimeSeriesQuery', spec: { plugin } }] } },
  ]);
});

it('says that hot answered 5 minutes, cold an hour, and both tiers a week', async () => {
  const { page } = tab;
  await tab.settle();
  expect(await noticeOf(page, 'Requests')).toBe(
    'hot answered: the query reads less than the threshold at once (below-threshold)'
  );
  await tab.shoot('hot');
  await chooseTimeRange(page, 'Last 1 hour');
  await expect
    .poll(() => noticeOf(page, 'Requests'))
    .toBe('cold answered: the query reads at least the threshold at once (at-or-above-threshold)');
  await chooseTimeRange(page, 'Last 7 days');
  await expect
    .poll(() => noticeOf(page, 'Requests'))
    .toBe('hot and cold answered: each tier answered a part of the time range (split)');
  await tab.shoot('split');
});

it('shows the query and where it goes in the query viewer', async () => {
  const { page } = tab;
  await panelOf(page, 'Requests').hover();
  await page.getByRole('button', { name: 'open query view for panel Requests' }).filter({ visible: true }).click();
  const dialog = page.getByRole('dialog');
  await expect.poll(() => dialog.getByRole('status', explanation).innerText()).toMatch(/^hot and cold answer: /);
  await tab.shoot('query-viewer');
  await dialog.getByRole('button', { name: 'Close' }).click();
});

it('asks the tier that a query forces, and warns that it does not hold everything', async () => {
  const { page } = tab;
  await page.getByRole('button', { name: 'Edit', exact: true }).click();
  await panelOf(page, 'Requests').hover();
  await page.getByRole('button', { name: 'edit panel Requests' }).filter({ visible: true }).click();
  await choose(page, /^Tier (Auto|Hot|Cold)/, 'Hot');
  await expect.poll(() => page.getByRole('status', explanation).innerText()).toMatch(/^hot answers: /);
  await page.getByRole('button', { name: 'Run Query' }).click();
  await tab.shoot('forced-editor', { height: 1200 });
  await page.getByRole('button', { name: 'Apply' }).click();
  await expect
    .poll(() => noticeOf(page, 'Requests'))
    .toMatch(/^hot answered: the query asks for this tier \(forced\)\n./);
  await tab.shoot('forced');
  await save(page, 'clicked');
});
