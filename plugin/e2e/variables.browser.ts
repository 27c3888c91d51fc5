import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { create, environment, read } from './environment';
import { choose, panelOf, save, typeQuery } from './page';
import { tieredDatasource } from './panels';

let tab: Tab;

const datasource = { kind: DATASOURCE_KIND, name: 'variables' };

function dashboard(name: string, variables: unknown[], panels: Record<string, unknown>): object {
  const items = Object.keys(panels).map((each) => ({
    ...{ x: 0, y: 0, width: 24, height: 10 },
    content: { $ref: `#/spec/panels/${each}` },
  }));
  return {
    kind: 'Dashboard',
    metadata: { project: 'shop', name },
    spec: { duration: '5m', variables, panels, layouts: [{ kind: 'Grid', spec: { items } }] },
  };
}

const panel = {
  kind: 'Panel',
  spec: {
    display: { name: 'By variables' },
    plugin: { kind: 'TimeSeriesChart', spec: { legend: { position: 'bottom', mode: 'list' } } },
    queries: [
      {
        kind: 'TimeSeriesQuery',
        spec: {
          plugin: {
            kind: 'TieredPrometheusTimeSeriesQuery',
            spec: {
              datasource,
              query: 'sum by ($label) (rate(http_requests_total{job="$job",instance=~"$busy"}[5m]))',
              seriesNameFormat: '$job: {{$label}}',
            },
          },
        },
      },
    ],
  },
};

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('variables', environment.gateway));
  await create('/api/v1/projects/shop/dashboards', dashboard('variables', [], {}));
  tab = await Tab.open('variables');
});

afterAll(() => tab.close());

/**
 * The form of Perses fails once when the type becomes List, before it has a source, and goes on. The trace names its own
 * script, not one of a plugin.
 */
const formOfPerses = /Cannot read properties of undefined \(reading 'kind'\)\n +at \w+ \(http:[^)]*\/static\/js\//;

afterEach((context) => tab.examine(context, [formOfPerses]));

/** Opens the form of a new list variable whose options come from a kind of variable. */
async function add(name: string, source: string): Promise<void> {
  const { page } = tab;
  await page.getByRole('button', { name: 'Add Variable' }).click();
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await choose(page, /^Type /, 'List');
  await choose(page, /^Source /, source);
  await choose(page, 'Tiered Prometheus Datasource', /^variables/);
}

/** Asks for the options that the form would give, looks at them, and adds the variable. */
async function preview(name: string, options: string[]): Promise<void> {
  const { page } = tab;
  await page.getByRole('button', { name: 'Run Query' }).click();
  for (const option of options) {
    await page.locator('.MuiChip-root').getByText(option, { exact: true }).waitFor();
  }
  await tab.shoot(`editor-${name}`);
  await page.getByRole('button', { name: 'Add', exact: true }).click();
}

it('has label values, label names and PromQL as options', async () => {
  const { page } = tab;
  await tab.goto('/projects/shop/dashboards/variables');
  await page.getByRole('button', { name: 'Edit', exact: true }).click();
  await page.getByRole('button', { name: 'Edit variables' }).click();

  await add('job', 'Tiered Prometheus Label Values Variable');
  await page.getByRole('textbox', { name: 'Label Name' }).fill('job');
  await preview('job', ['cart', 'checkout', 'search', 'node']);

  await add('label', 'Tiered Prometheus Label Names Variable');
  await preview('label', ['instance', 'code', 'le']);

  await add('busy', 'Tiered Prometheus PromQL Variable');
  await typeQuery(page, 'topk(2, sum by (instance) (rate(http_requests_total{job="$job"}[5m])))');
  await page.getByRole('textbox', { name: 'Label Name' }).fill('instance');
  await page.getByRole('checkbox', { name: 'Allow Multiple Values' }).check();
  await page.getByRole('checkbox', { name: 'Allow All option' }).check();
  // Perses does not know the value of the variable $job here before the list is applied.
  await preview('busy', []);

  await tab.shoot('list');
  await page.getByRole('button', { name: 'Apply' }).click();
  await save(page, 'variables');
  const { spec } = (await read('/api/v1/projects/shop/dashboards/variables')) as {
    spec: { variables: { spec: { name: string; plugin: unknown } }[] };
  };
  expect(spec.variables.map(({ spec: { name, plugin } }) => ({ name, plugin }))).toEqual([
    { name: 'job', plugin: { kind: 'TieredPrometheusLabelValuesVariable', spec: { datasource, labelName: 'job' } } },
    { name: 'label', plugin: { kind: 'TieredPrometheusLabelNamesVariable', spec: { datasource } } },
    {
      name: 'busy',
      plugin: {
        kind: 'TieredPrometheusPromQLVariable',
        spec: {
          datasource,
          expr: 'topk(2, sum by (instance) (rate(http_requests_total{job="$job"}[5m])))',
          labelName: 'instance',
        },
      },
    },
  ]);
});

it('draws what is chosen', async () => {
  const { page } = tab;
  const { spec } = (await read('/api/v1/projects/shop/dashboards/variables')) as { spec: { variables: unknown[] } };
  await create('/api/v1/projects/shop/dashboards', dashboard('chosen', spec.variables, { panel }));
  const legend = async (): Promise<string> => panelOf(page, 'By variables').innerText();
  await tab.goto('/projects/shop/dashboards/chosen?var-job=cart&var-label=code&var-busy=$__all');
  await expect.poll(legend).toContain('cart: 404');
  await choose(page, 'label', 'instance');
  await expect.poll(legend).toMatch(/cart: cart-\d:8080\s+cart: cart-\d:8080/);
  await choose(page, 'job', 'search');
  await expect.poll(legend).toMatch(/search: search-\d:8080\s+search: search-\d:8080/);
  // The options of the last variable are those of its PromQL for the chosen job.
  await page.getByRole('combobox', { name: 'busy' }).click();
  await expect
    .poll(() => page.getByRole('option').allInnerTexts())
    .toEqual(['All', expect.stringMatching(/^search-\d:8080$/), expect.stringMatching(/^search-\d:8080$/)]);
  await tab.shoot('chosen');
});
