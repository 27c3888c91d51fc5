import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Tab } from './browser';
import { create, environment } from './environment';
import { choose, chooseTimeRange, typeQuery } from './page';
import { tieredDatasource } from './panels';

let tab: Tab;

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('explore', environment.gateway));
  tab = await Tab.open('explore');
});

afterAll(() => tab.close());

/** The browser itself reports every answer with an error status. */
const mistakenQuery = /^Failed to load resource: the server responded with a status of 400 .*\/query_range\)$/;
let allowed: RegExp[] = [];

afterEach((context) => tab.examine(context, allowed));

/** What the strip says of the answer. */
function strip(): Promise<string> {
  return tab.page.getByRole('status', { name: 'What answered' }).innerText();
}

it('shows a table, and which tier answered, why, how fast and how much', async () => {
  const { page } = tab;
  await tab.goto('/explore');
  await page.getByRole('tab', { name: 'Tiered Prometheus Explorer' }).click();
  await choose(page, 'Tiered Prometheus Datasource', /^explore/);
  await typeQuery(page, 'sum by (job, code) (rate(http_requests_total[5m]))');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await page.getByRole('cell', { name: 'checkout' }).first().waitFor();
  expect(await strip()).toMatch(/hot|cold/);
  await tab.shoot('table', { height: 1200 });
});

it('draws a graph, whose tier changes with the time range', async () => {
  const { page } = tab;
  await chooseTimeRange(page, 'Last 5 minutes');
  await page.getByRole('tab', { name: 'Graph' }).click();
  await expect.poll(strip).toMatch(/hot\s+below-threshold\s.*\s\d+(\.\d)? m?s\s+9 series\s+[\d,]+ samples/s);
  await expect.poll(() => page.locator('canvas').count()).toBeGreaterThan(0);
  await tab.shoot('graph-hot', { height: 1200 });
  await chooseTimeRange(page, 'Last 7 days');
  await expect.poll(strip).toMatch(/hot,cold\s+split\s.*\s\d+(\.\d)? m?s\s+9 series\s+[\d,]+ samples/s);
  await tab.shoot('graph-split', { height: 1200 });
});

it('shows a mistake in a query where the answer would be', async () => {
  const { page } = tab;
  allowed = [mistakenQuery];
  await typeQuery(page, 'sum by (job');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await expect.poll(strip).toMatch(/parse error/);
  await tab.shoot('mistake', { height: 1200 });
});

it('finds a metric and queries it', async () => {
  const { page } = tab;
  // The mistake before is asked once more as its window changes, which the browser may report late.
  allowed = [mistakenQuery];
  await page.getByRole('tab', { name: 'Finder' }).click();
  await page.getByText('node_load1').first().waitFor();
  await tab.shoot('finder', { height: 1200 });
  await page.getByRole('link', { name: 'explore metric node_load1' }).click();
  await page.getByRole('button', { name: 'Query in graph' }).waitFor();
  await tab.shoot('metric', { height: 1400 });
  await page.getByRole('button', { name: 'Query in graph' }).click();
  await expect.poll(strip).toMatch(/hot,cold\s+split.*3 series/s);
});
