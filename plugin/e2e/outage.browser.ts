import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Tab } from './browser';
import { control, create, environment } from './environment';
import { noticeOf, panelOf } from './page';
import { requestsDashboard, tieredDatasource } from './panels';

let tab: Tab;

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('outage', environment.gateway));
  await create('/api/v1/projects/shop/dashboards', requestsDashboard('outage', 'outage'));
  tab = await Tab.open('outage');
});

afterAll(() => tab.close());

/** The browser itself reports every answer with an error status; and Perses every query that failed. */
const failedQueries = [/^Failed to load resource: the server responded with a status of 50[234]/, /^GatewayError: /];
let allowed: RegExp[] = [];

afterEach((context) => tab.examine(context, allowed));

async function refresh(): Promise<void> {
  await tab.page.getByRole('button', { name: 'Refresh' }).click();
  await tab.settle();
}

function shown(): Promise<string> {
  return panelOf(tab.page, 'Requests').innerText();
}

it('goes on with cold when hot is killed, and warns', async () => {
  await tab.goto('/projects/shop/dashboards/outage');
  await expect.poll(() => noticeOf(tab.page, 'Requests')).toMatch(/^hot answered: /);
  await control('/hot/kill');
  await refresh();
  expect(await shown()).toMatch(/cart.*checkout.*search/s);
  expect(await noticeOf(tab.page, 'Requests')).toMatch(
    /^cold answered: hot (did not answer|is not available) \(hot-(failed|unavailable)\)/
  );
  await tab.shoot('hot-killed');
});

it('shows the error of the gateway when both tiers are gone', async () => {
  allowed = failedQueries;
  await control('/cold/kill');
  await refresh();
  await expect.poll(shown).toMatch(/the (cold|hot) tier failed: it refused the connection/);
  expect(await shown()).not.toContain('Bad Gateway');
  await tab.shoot('both-killed');
});

it('recovers', async () => {
  await control('/hot/start');
  await expect
    .poll(async () => {
      await refresh();
      return shown();
    })
    .toMatch(/cart.*checkout.*search/s);
  expect(await noticeOf(tab.page, 'Requests')).toMatch(/^hot answered: .*cold/);
  await tab.shoot('hot-back');
  await control('/cold/start');
});
