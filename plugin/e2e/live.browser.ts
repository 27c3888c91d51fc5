import type { Request } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { QUERY_KIND } from '../explore/tiered-prometheus-explorer/explorer-state';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { control, create, environment } from './environment';
import { chooseTimeRange, typeQuery } from './page';
import { tieredDatasource } from './panels';

let tab: Tab;
/** The streams that the page opened, and those that are over. */
const streams = { opened: 0, closed: 0 };

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('live', environment.gateway));
  tab = await Tab.open('live');
  const isStream = (request: Request): boolean => request.url().includes('/metrics/live?');
  tab.page.on('request', (request) => {
    streams.opened += isStream(request) ? 1 : 0;
  });
  for (const event of ['requestfinished', 'requestfailed'] as const) {
    tab.page.on(event, (request) => {
      streams.closed += isStream(request) ? 1 : 0;
    });
  }
});

afterAll(() => tab.close());

let allowed: RegExp[] = [];

afterEach((context) => tab.examine(context, allowed));

const rates = 'sum by (job) (rate(http_requests_total[5m]))';

/** Address of the graph of a query with steps of a second. */
function graphOf(query: string): string {
  const datasource = { kind: DATASOURCE_KIND, name: 'live' };
  const plugin = { kind: QUERY_KIND, spec: { query, minStep: '1s', datasource } };
  const data = { tab: 'graph', queries: [{ kind: 'TimeSeriesQuery', spec: { plugin } }] };
  const explorer = 'TieredPrometheus-TieredPrometheusExplorer';
  return `/explore?${new URLSearchParams({ explorer, start: '5m', data: JSON.stringify(data) }).toString()}`;
}

function strip(): Promise<string> {
  return tab.page.getByRole('status', { name: 'What answered' }).innerText();
}

/** What the graph looks like. */
function picture(): Promise<string> {
  return tab.page
    .locator('canvas')
    .first()
    .evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());
}

/** Notices from now on whether the graph is built anew, or something says that it is loading. */
async function watchForFlicker(): Promise<void> {
  await tab.page.evaluate(() => {
    const signs = 'canvas, .MuiSkeleton-root, .MuiCircularProgress-root';
    const found: string[] = [];
    (window as { flicker?: string[] }).flicker = found;
    new MutationObserver((mutations) => {
      for (const node of mutations.flatMap(({ addedNodes, removedNodes }) => [...addedNodes, ...removedNodes])) {
        if (node instanceof Element && (node.matches(signs) || node.querySelector(signs) !== null)) {
          found.push(node.outerHTML.slice(0, 300));
        }
      }
    }).observe(document.getElementById('explorer-view') ?? document, { childList: true, subtree: true });
  });
}

function flicker(): Promise<string[] | undefined> {
  return tab.page.evaluate(() => (window as { flicker?: string[] }).flicker);
}

it('draws each new step in the same graph, and says which tier it is from', async () => {
  const { page } = tab;
  await tab.goto(graphOf(rates));
  await expect.poll(strip).toMatch(/hot\s+below-threshold.*3 series/s);
  await page.getByLabel('Live').check();
  await expect.poll(strip).toMatch(/^live\s+hot\s+below-threshold.*3 series.*last update \d\d:\d\d:\d\d\s+lag \d/s);
  await watchForFlicker();
  for (let step = 0; step < 3; step++) {
    const before = await picture();
    await expect.poll(picture).not.toBe(before);
  }
  expect(await flicker()).toEqual([]);
  expect(streams).toEqual({ opened: 1, closed: 0 });
  await tab.shoot('graph', { height: 1200 });
});

it('begins a new stream with another query or time range, and none in an absolute one', async () => {
  const { page } = tab;
  const before = { ...streams };
  await typeQuery(page, 'node_load1');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await expect.poll(() => streams).toEqual({ opened: before.opened + 1, closed: before.closed + 1 });
  await chooseTimeRange(page, 'Last 15 minutes');
  await expect.poll(() => streams).toEqual({ opened: before.opened + 2, closed: before.closed + 2 });
  await expect.poll(strip).toMatch(/^live\s+hot.*last update/s);
  // Selecting a part of the graph zooms in.
  const box = await page.locator('canvas').first().boundingBox();
  const { x, y, width, height } = box ?? { x: 0, y: 0, width: 0, height: 0 };
  await page.mouse.move(x + width * 0.4, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width * 0.6, y + height / 2, { steps: 5 });
  await page.mouse.up();
  await expect.poll(() => streams.closed).toBe(before.closed + 3);
  expect(await page.getByLabel('Live').isDisabled()).toBe(true);
  await page.getByText('Live', { exact: true }).hover();
  await page.getByRole('tooltip').getByText('This one is absolute').waitFor();
  await tab.shoot('absolute', { height: 1200 });
});

it('has the newest step in the table, and no stream once it is switched off', async () => {
  const { page } = tab;
  await tab.goto(graphOf(rates));
  await page.getByLabel('Live').check();
  await expect.poll(strip).toMatch(/^live/);
  await page.getByRole('tab', { name: 'Table' }).click();
  await expect.poll(strip).toMatch(/^live.*3 series\s+3 samples.*last update/s);
  await tab.shoot('table', { height: 1200 });
  await page.getByLabel('Live').uncheck();
  await expect.poll(strip).not.toMatch(/^live/);
  await expect.poll(() => streams.closed).toBe(streams.opened);
});

it('says that the newest steps are missing while both tiers are gone, and goes on', async () => {
  const { page } = tab;
  allowed = [/^Failed to load resource: the server responded with a status of 50[234]/];
  await tab.goto(graphOf(rates));
  await page.getByLabel('Live').check();
  await expect.poll(strip).toMatch(/^live\s+hot.*last update/s);
  await watchForFlicker();
  await control('/hot/kill');
  // Cold goes on alone.
  await expect.poll(strip).toMatch(/^live\s+(hot,)?cold/);
  await tab.shoot('hot-gone', { height: 1200 });
  await control('/cold/kill');
  await expect.poll(strip).toMatch(/The newest steps are missing/);
  await tab.shoot('both-gone', { height: 1200 });
  await control('/hot/start');
  await control('/cold/start');
  await expect.poll(strip).toMatch(/^live\s+hot\s+below-threshold/);
  await expect.poll(strip).not.toMatch(/The newest steps are missing/);
  await tab.shoot('hot-back', { height: 1200 });
});
