import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Tab } from './browser';
import { environment, read } from './environment';
import { choose } from './page';

let tab: Tab;
let form: Locator;

beforeAll(async () => {
  tab = await Tab.open('datasource');
  form = tab.page.getByTestId('datasource-editor');
});

afterAll(() => tab.close());

afterEach((context) => tab.examine(context));

/** What Perses says of a fixture when it is saved, without the path of the field. */
function refusal(fixture: string): string {
  const file = `../../schemas/datasources/tiered-prometheus-datasource/tests/invalid/${fixture}.error`;
  return readFileSync(join(import.meta.dirname, file), 'utf8')
    .trim()
    .replace(/^[a-zA-Z._]+: /, '');
}

function report(tier: 'Hot' | 'Cold'): Locator {
  return form.getByRole('region', { name: `${tier} tier: report` });
}

const proxyUrl = `${environment.gateway}/proxy/globaldatasources/metrics`;

it('fills the proxy URL in from the name', async () => {
  await tab.goto('/admin/datasources');
  await tab.page.getByRole('button', { name: 'Add datasource' }).click();
  await choose(form, 'Source', 'Tiered Prometheus Datasource');
  await form.getByRole('textbox', { name: 'Name', exact: true }).fill('metrics');
  await expect
    .poll(() => form.getByLabel('Proxy URL').inputValue())
    .toBe('http://tierproxy:9190/proxy/globaldatasources/metrics');
  await tab.shoot('empty', { height: 1500 });
});

it('says what is wrong while it is typed, in the words of the server', async () => {
  await form.getByLabel('Proxy URL').fill(`${environment.gateway}/proxy/globaldatasources/another`);
  await form.getByText('This URL names another datasource').waitFor();
  await form.getByLabel('Threshold').fill('15 minutes');
  await form.getByText(refusal('threshold-not-a-duration')).waitFor();
  const hot = form.getByRole('radiogroup', { name: 'Where the hot tier is' });
  await hot.getByRole('radio', { name: 'URL' }).check();
  await form.getByRole('textbox', { name: 'URL', exact: true }).fill('prometheus:9090');
  await form.getByText(refusal('hot-url-without-scheme')).waitFor();
  await tab.shoot('mistakes', { height: 1700 });
});

it('is corrected', async () => {
  await form.getByRole('button', { name: 'Correct it' }).click();
  expect(await form.getByLabel('Proxy URL').inputValue()).toBe(proxyUrl);
  await form.getByLabel('Threshold').fill('10m');
  await form.getByText(refusal('threshold-not-a-duration')).waitFor({ state: 'detached' });
});

it('checks a destination that the policy does not allow, before it is saved', async () => {
  await form.getByRole('textbox', { name: 'URL', exact: true }).fill('http://203.0.113.7:9090');
  await form.getByRole('button', { name: 'Check' }).click();
  await form.getByText('This datasource does not work as it is').waitFor();
  await expect.poll(() => report('Hot').innerText()).toContain('denied by policy');
  await expect.poll(() => report('Cold').innerText()).toContain('reachable');
  await tab.shoot('check-denied', { height: 1900 });
});

it('checks the tiers of the gateway', async () => {
  const hot = form.getByRole('radiogroup', { name: 'Where the hot tier is' });
  await hot.getByRole('radio', { name: 'From the gateway' }).check();
  await form.getByRole('button', { name: 'Check' }).click();
  await form.getByText('This datasource works.').waitFor();
  const found = { hot: await report('Hot').innerText(), cold: await report('Cold').innerText() };
  for (const [tier, address] of [
    ['hot', environment.hot],
    ['cold', environment.cold],
  ] as const) {
    expect(found[tier]).toContain('reachable');
    expect(found[tier]).toContain('from the gateway');
    expect(found[tier]).toContain(address);
    expect(found[tier]).toMatch(/Version\s+\d+\.\d+/);
  }
  expect(found.hot).toMatch(/Oldest sample\s+20\d\d-/);
  await tab.shoot('check-ok', { height: 1800 });
});

it('is saved as the default', async () => {
  await form.getByRole('checkbox', { name: 'Set as default' }).check();
  await form.getByRole('button', { name: 'Save' }).click();
  await tab.page.getByText('Datasource metrics is saved').waitFor();
  const { spec } = (await read('/api/v1/globaldatasources/metrics')) as { spec: unknown };
  expect(spec).toEqual({
    default: true,
    plugin: {
      kind: 'TieredPrometheusDatasource',
      spec: { threshold: '10m', proxy: { kind: 'HTTPProxy', spec: { url: proxyUrl } } },
    },
  });
  await tab.page.getByRole('row', { name: 'metrics TieredPrometheusDatasource default' }).waitFor();
  await tab.shoot('saved');
});

it('is changed, checked again through the saved route, and deleted', async () => {
  const { page } = tab;
  await page.getByRole('button', { name: 'metrics' }).click();
  await form.getByLabel('Threshold').waitFor();
  await tab.shoot('read-only', { height: 1500 });
  await form.getByRole('button', { name: 'Edit' }).click();
  expect(await form.getByLabel('Threshold').inputValue()).toBe('10m');
  await form.getByLabel('Scrape Interval').fill('30s');
  await form.getByRole('button', { name: 'Check' }).click();
  await form.getByText('This datasource works.').waitFor();
  await form.getByRole('button', { name: 'Save' }).click();
  await form.waitFor({ state: 'detached' });
  const saved = (await read('/api/v1/globaldatasources/metrics')) as { spec: { plugin: { spec: object } } };
  expect(saved.spec.plugin.spec).toMatchObject({ threshold: '10m', scrapeInterval: '30s' });
  await page.getByRole('button', { name: 'metrics' }).click();
  await form.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('Datasource metrics is deleted').waitFor();
  await page.getByRole('row', { name: 'metrics' }).waitFor({ state: 'detached' });
});

it('belongs to a project where it is created there', async () => {
  await tab.goto('/projects/shop/datasources');
  await tab.page.getByRole('button', { name: 'Add datasource' }).click();
  await form.getByRole('textbox', { name: 'Name', exact: true }).fill('own');
  await choose(form, 'Source', 'Tiered Prometheus Datasource');
  await expect
    .poll(() => form.getByLabel('Proxy URL').inputValue())
    .toBe('http://tierproxy:9190/proxy/projects/shop/datasources/own');
});
