import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Tab } from './browser';
import { choose, noticeOf, panelOf, typeQuery } from './page';

// What the demo tells a newcomer to look at, and to break.

let tab: Tab;

/** Breaks or heals tiers of the demo as its users do. */
function control(...action: string[]): void {
  execFileSync(join(import.meta.dirname, '../../scripts/demo-control'), action, { stdio: 'inherit' });
}

/** Returns the notice of a panel after a refresh: Perses keeps what it has. */
async function freshNotice(panel: string): Promise<string> {
  await tab.page.getByRole('button', { name: 'Refresh' }).click();
  await tab.settle();
  return noticeOf(tab.page, panel);
}

beforeAll(async () => {
  tab = await Tab.open('demo');
});

afterAll(async () => {
  control('heal');
  await tab.close();
});

afterEach((context) => tab.examine(context));

const shop = '/projects/demo/dashboards/shop';
const belowThreshold = 'the query reads less than the threshold at once (below-threshold)';

it('draws the thresholds of alerts', async () => {
  await tab.goto(shop);
  await expect
    .poll(() => panelOf(tab.page, 'Load of the nodes, and when it alerts').innerText())
    .toMatch(/HighLoad.*node-0:9100/s);
  await tab.settle();
  await tab.shoot('shop');
});

it('goes on with cold when hot is broken, says so, and returns to hot', async () => {
  const { page } = tab;
  const notice = (): Promise<string> => freshNotice('Requests per second');
  await expect.poll(notice).toBe(`hot {cluster="eu-1"} answered: ${belowThreshold}`);
  control('break');
  expect(await notice()).toMatch(/^cold answered: hot (did not answer|is not available) \(hot-(failed|unavailable)\)/);
  expect(await panelOf(page, 'Requests per second').innerText()).toMatch(/cart.*checkout.*search/s);
  await tab.shoot('broken');
  control('heal');
  await expect.poll(notice).toBe(`hot {cluster="eu-1"} answered: ${belowThreshold}`);
});

it('asks the Prometheus of the chosen cluster, which another one does not concern', async () => {
  const { page } = tab;
  const notice = (): Promise<string> => freshNotice('Orders per second of the cluster');
  await tab.goto('/projects/demo/dashboards/clusters');
  await expect.poll(notice).toBe(`hot {cluster="eu-1"} answered: ${belowThreshold}`);
  control('break', 'eu-1');
  await choose(page, 'Cluster', 'us-1');
  await expect.poll(notice).toBe(`hot {cluster="us-1"} answered: ${belowThreshold}`);
  await tab.shoot('clusters');
  await choose(page, 'Cluster', 'All');
  await expect.poll(notice).toMatch(/^cold answered: .*\(not-in-hot\)/);
  await choose(page, 'Cluster', 'eu-1');
  await expect.poll(notice).toMatch(/^cold answered: .*\(hot-unavailable\)/);
  control('heal');
});

it('follows a query live in Explore', async () => {
  const { page } = tab;
  await tab.goto('/explore');
  await page.getByRole('tab', { name: 'Tiered Prometheus Explorer' }).click();
  await page.getByRole('tab', { name: 'Graph' }).click();
  await typeQuery(page, 'sum by (job) (rate(http_requests_total[5m]))');
  await page.getByLabel('Min Step').fill('5s');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await page.getByLabel('Live').click();
  const strip = (): Promise<string> => page.getByRole('status', { name: 'What answered' }).innerText();
  await expect.poll(strip).toMatch(/live\s+hot\s.*last update \d+:\d+:\d+/s);
  const before = /last update \S+/.exec(await strip())?.[0];
  await expect.poll(strip).not.toContain(before);
  await tab.shoot('live', { height: 1200 });
});
