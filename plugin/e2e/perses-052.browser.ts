import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Tab } from './browser';
import { create, environment } from './environment';
import { choose, chooseTimeRange, panelOf, typeQuery } from './page';
import { requestsDashboard, tieredDatasource } from './panels';

// The same bundle in the page that is made of the packages of Perses 0.52: what differs between the releases.
let tab: Tab;

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('earlier', environment.gateway));
  await create('/api/v1/projects/shop/dashboards', requestsDashboard('earlier', 'earlier'));
  tab = await Tab.open('perses-052', environment.page052);
});

afterAll(() => tab.close());

afterEach((context) => tab.examine(context));

const explanation = { name: 'Where this query goes' };

it('draws a panel, and its editor explains and runs the query', async () => {
  const { page } = tab;
  await tab.goto('/projects/shop/dashboards/earlier');
  const panel = panelOf(page, 'Requests');
  await expect.poll(() => panel.innerText()).toMatch(/cart.*checkout.*search/s);
  await page.getByRole('button', { name: 'Edit', exact: true }).click();
  await panel.hover();
  await page.getByRole('button', { name: 'edit panel Requests' }).filter({ visible: true }).click();
  await expect.poll(() => page.getByRole('status', explanation).innerText()).toMatch(/^hot answers: /);
  await typeQuery(page, 'node_load1');
  await page.getByRole('textbox', { name: 'Legend' }).fill('load of {{instance}}');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await page.getByRole('button', { name: 'Apply' }).click();
  await expect.poll(() => panel.innerText()).toMatch(/load of node-0.*load of node-1.*load of node-2/s);
});

it('shows in Explore which tier answered', async () => {
  const { page } = tab;
  const strip = (): Promise<string> => page.getByRole('status', { name: 'What answered' }).innerText();
  await tab.goto('/explore');
  await page.getByRole('tab', { name: 'Tiered Prometheus Explorer' }).click();
  await page.getByRole('tab', { name: 'Graph' }).click();
  await chooseTimeRange(page, 'Last 7 days');
  await choose(page, 'Tiered Prometheus Datasource', /^earlier/);
  await typeQuery(page, 'node_load1');
  await page.getByRole('button', { name: 'Run Query' }).click();
  await expect.poll(strip).toMatch(/hot,cold\s+split.*3 series/s);
  await tab.shoot('explore', { height: 1200 });
});

it('has the form of a datasource, which is checked', async () => {
  const { page } = tab;
  const form = page.getByTestId('datasource-editor');
  await tab.goto('/admin/datasources');
  await page.getByRole('button', { name: 'earlier' }).click();
  await form.getByRole('button', { name: 'Edit' }).click();
  await form.getByRole('textbox', { name: 'Threshold' }).fill('soon');
  await form.getByText('must be a duration longer than zero').waitFor();
  await form.getByRole('textbox', { name: 'Threshold' }).fill('20m');
  await form.getByRole('button', { name: 'Check' }).click();
  await form.getByText('This datasource works.').waitFor();
  await form.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Datasource earlier is saved').waitFor();
});
