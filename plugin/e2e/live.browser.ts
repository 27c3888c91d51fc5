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
  const end = (request: Request): void => {
    streams.closed += isStream(request) ? 1 : 0;
  };
  tab.page.on('requestfinished', end);
  tab.page.on('requestfailed', end);
});

afterAll(() => tab.close());

let allowed: RegExp[] = [];

afterEach((context) => tab.examine(context, allowed));

const rates = 'sum by (job) (rate(http_requests_total[5m]))';

/** Address of the graph of a query with steps of a second. */
function graphOf(query: string, more: Record<string, string> = { start: '5m' }, isLive = false): string {
  const datasource = { kind: DATASOURCE_KIND, name: 'live' };
  const plugin = { kind: QUERY_KIND, spec: { query, minStep: '1s', datasource } };
  const data = { tab: 'graph', queries: [{ kind: 'TimeSeriesQuery', spec: { plugin } }], live: isLive };
  const explorer = 'TieredPrometheus-TieredPrometheusExplorer';
  return `/explore?${new URLSearchParams({ explorer, ...more, data: JSON.stringify(data) }).toString()}`;
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

it('begins a new stream with another query or time range, and none once it is switched off', async () => {
  const { page } = tab;
  const before = { ...streams };
  await typeQuery(page, 'node_load1');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await expect.poll(() => streams).toEqual({ opened: before.opened + 1, closed: before.closed + 1 });
  await chooseTimeRange(page, 'Last 15 minutes');
  await expect.poll(() => streams).toEqual({ opened: before.opened + 2, closed: before.closed + 2 });
  await page.getByRole('tab', { name: 'Table' }).click();
  await expect.poll(strip).toMatch(/^live.*3 series\s+3 samples.*last update/s);
  await page.getByLabel('Live').uncheck();
  await expect.poll(() => streams.closed).toBe(streams.opened);
  await expect.poll(strip).not.toMatch(/^live/);
});

it('has no stream in an absolute time range, which selecting a part of the graph makes', async () => {
  const { page } = tab;
  // ECharts 5.5 throws in a timer if a chart gets other data twice while the pointer rests on it: it shows a tooltip late.
  allowed = [/^TypeError: Cannot read properties of null \(reading 'offsetWidth'\)/];
  await tab.goto(graphOf(rates, { start: '5m' }, true));
  await expect.poll(strip).toMatch(/^live\s+hot.*last update/s);
  const { opened } = streams;
  const { x = 0, y = 0, width = 0 } = (await page.locator('canvas').first().boundingBox()) ?? {};
  // The chart takes no selection for a moment after it got other data.
  await expect
    .poll(async () => {
      await page.mouse.move(x + width * 0.4, y + 100);
      await page.mouse.down();
      await page.mouse.move(x + width * 0.6, y + 100, { steps: 5 });
      await page.mouse.up();
      return page.getByLabel('Live').isDisabled();
    })
    .toBe(true);
  await expect.poll(() => streams).toEqual({ opened, closed: opened });
  await page.getByText('Live', { exact: true }).hover();
  await page.getByRole('tooltip').getByText('This one is absolute').waitFor();
});

/** Takes screenshots, in whose other themes the graph is built anew. Before, nothing may have flickered. */
async function shoot(name: string): Promise<void> {
  expect(await flicker()).toEqual([]);
  await tab.shoot(name, { height: 1200 });
  await watchForFlicker();
}

// Only make e2e-full takes the time for it.
it.runIf(process.env.E2E_LIVE !== undefined)('stays for a minute in which both tiers are killed', async () => {
  const { page } = tab;
  const end = Date.now() + 60_000;
  allowed = [/^Failed to load resource: the server responded with a status of 50[234]/];
  await tab.goto(graphOf(rates));
  await page.getByLabel('Live').check();
  await expect.poll(strip).toMatch(/^live\s+hot.*last update/s);
  await watchForFlicker();
  const { opened } = streams;
  await control('/hot/kill');
  await expect.poll(strip).toMatch(/^live\s+(hot,)?cold/);
  await shoot('hot-gone');
  await control('/cold/kill');
  await expect.poll(strip).toMatch(/The newest steps are missing/);
  await shoot('both-gone');
  await control('/hot/start');
  await control('/cold/start');
  await expect.poll(strip).toMatch(/^live\s+hot\s+below-threshold/);
  await expect.poll(strip).not.toMatch(/The newest steps are missing/);
  await shoot('hot-back');
  while (Date.now() < end) {
    const before = await picture();
    await expect.poll(picture).not.toBe(before);
  }
  expect(await flicker()).toEqual([]);
  expect(streams.opened).toBe(opened);
});
