import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { create, environment, loadRules, read } from './environment';
import { noticeOf, panelOf, save } from './page';
import { requestsDashboard, tieredDatasource } from './panels';

let tab: Tab;

/** Rules of which one has a constant threshold, one a threshold for each job, and one none. */
function rules(threshold: number): object {
  const perJob = (range: string): string => `sum by (job) (rate(http_requests_total[${range}]))`;
  const alert = (name: string, expr: string): object => ({
    alert: name,
    expr,
    for: '5m',
    labels: { severity: 'critical' },
  });
  return {
    groups: [
      {
        name: 'shop',
        interval: '1s',
        rules: [
          alert('ManyRequests', `${perJob('5m')} > ${String(threshold)}`),
          alert('FewRequests', `${perJob('5m')} < 0.2 * ${perJob('1h')}`),
          alert('TargetMissing', 'absent(http_requests_total{job="cart"})'),
        ],
      },
    ],
  };
}

beforeAll(async () => {
  await loadRules(rules(250));
  await create('/api/v1/globaldatasources', tieredDatasource('thresholds', environment.gateway));
  await create('/api/v1/projects/shop/dashboards', requestsDashboard('thresholds', 'thresholds'));
  tab = await Tab.open('thresholds');
});

afterAll(async () => {
  await tab.close();
  await loadRules({ groups: [] });
});

afterEach((context) => tab.examine(context));

const shown = (): Promise<string> => panelOf(tab.page, 'Requests').innerText();

it('adds a query whose alerts are completed, and shows their thresholds', async () => {
  const { page } = tab;
  await tab.goto('/projects/shop/dashboards/thresholds');
  await expect.poll(shown).toMatch(/cart.*checkout.*search/s);
  await page.getByRole('button', { name: 'Edit', exact: true }).click();
  await panelOf(page, 'Requests').hover();
  await page.getByRole('button', { name: 'edit panel Requests' }).filter({ visible: true }).click();
  await page.getByRole('button', { name: 'Add Query' }).click();
  await page
    .getByRole('combobox', { name: /^Query Type/ })
    .last()
    .click();
  await page.getByRole('option', { name: 'Tiered Prometheus Alert Threshold Query' }).click();
  const found = page.getByRole('status', { name: 'Thresholds of this query' });
  await found.waitFor();
  await page
    .getByRole('combobox', { name: /^Tiered Prometheus Datasource/ })
    .last()
    .click();
  await page.getByRole('option', { name: /^thresholds/ }).click();
  const alerts = page.getByRole('combobox', { name: 'Alerts' });
  await alerts.fill('Many');
  await page.getByRole('option', { name: 'ManyRequests' }).waitFor();
  await tab.shoot('completion', { height: 1400 });
  // By the keyboard: the list may still move after the screenshots, and a click that begins and ends over different options is none.
  await alerts.press('ArrowDown');
  await alerts.press('Enter');
  await page.getByRole('button', { name: 'ManyRequests', exact: true }).waitFor();
  await expect
    .poll(() => found.innerText())
    .toMatch(/^ManyRequests > 250 \(group shop, for 5m, severity critical, \w+\)$/);
  await page.getByRole('combobox', { name: 'Label Matchers' }).fill('severity=critical');
  await page.keyboard.press('Enter');
  await page.getByText('must be a label matcher such as severity="critical"').waitFor();
  await page.keyboard.press('Backspace');
  await page.getByRole('button', { name: 'Apply' }).click();
  await expect.poll(shown).toContain('ManyRequests > 250');
  await save(page, 'thresholds');
  const { spec } = (await read('/api/v1/projects/shop/dashboards/thresholds')) as {
    spec: { panels: { requests: { spec: { queries: unknown[] } } } };
  };
  expect(spec.panels.requests.spec.queries[1]).toEqual({
    kind: 'TimeSeriesQuery',
    spec: {
      plugin: {
        kind: 'TieredPrometheusAlertThresholdQuery',
        spec: { datasource: { kind: DATASOURCE_KIND, name: 'thresholds' }, alerts: ['ManyRequests'] },
      },
    },
  });
});

it('follows the rule file', async () => {
  await loadRules(rules(150));
  const drawn: string[] = [];
  tab.page.on('response', (response) => {
    if (response.url().endsWith('/query_range') && response.request().postData()?.includes('query=150&') === true) {
      void response.text().then((text) => drawn.push(text));
    }
  });
  await expect
    .poll(async () => {
      await tab.page.getByRole('button', { name: 'Refresh' }).click();
      await tab.settle();
      return shown();
    })
    .toContain('ManyRequests > 150');
  expect(await shown()).not.toContain('ManyRequests > 250');
  expect(await shown()).toMatch(/cart.*checkout.*search/s);
  await expect.poll(() => drawn.at(-1)).toMatch(/"150"\]/);
});

it('draws a threshold for each job, and says which rules have none', async () => {
  const dashboard = requestsDashboard('thresholds-all', 'thresholds') as {
    spec: { panels: { requests: { spec: { queries: object[] } } } };
  };
  const spec = { datasource: { kind: DATASOURCE_KIND, name: 'thresholds' }, metric: 'http_requests_total' };
  dashboard.spec.panels.requests.spec.queries.push({
    kind: 'TimeSeriesQuery',
    spec: { plugin: { kind: 'TieredPrometheusAlertThresholdQuery', spec } },
  });
  await create('/api/v1/projects/shop/dashboards', dashboard);
  await tab.goto('/projects/shop/dashboards/thresholds-all');
  await expect.poll(shown).toContain('ManyRequests > 150');
  for (const job of ['cart', 'checkout', 'search']) {
    expect(await shown()).toMatch(new RegExp(`FewRequests < 0\\.2 \\* .*\\{job="${job}"\\}`));
  }
  expect(await noticeOf(tab.page, 'Requests')).toMatch(/^TargetMissing has no threshold: ./);
  await tab.shoot('all');
});
