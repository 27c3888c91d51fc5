import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { create, environment } from './environment';
import { comparedPanels, comparisonDashboard, directDatasource, tieredDatasource } from './panels';

/** An hour that ended some minutes ago: nothing is added to it any more, and both tiers hold it. */
const end = Math.floor(Date.now() / 600_000) * 600_000 - 600_000;
const start = end - 3_600_000;

const tiers = ['hot', 'cold'] as const;

let tab: Tab;

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('side-by-side', environment.gateway));
  for (const tier of tiers) {
    await create('/api/v1/globaldatasources', directDatasource(`direct-${tier}`, environment[tier]));
    await create(
      '/api/v1/projects/shop/dashboards',
      comparisonDashboard(`${tier}-direct`, 'PrometheusTimeSeriesQuery', {
        datasource: { kind: 'PrometheusDatasource', name: `direct-${tier}` },
      })
    );
    await create(
      '/api/v1/projects/shop/dashboards',
      comparisonDashboard(`${tier}-tiered`, 'TieredPrometheusTimeSeriesQuery', {
        datasource: { kind: DATASOURCE_KIND, name: 'side-by-side' },
        tier,
      })
    );
  }
  tab = await Tab.open();
});

afterAll(() => tab.close());

afterEach(() => {
  expect(tab.takeComplaints()).toEqual([]);
});

/** What a panel shows. */
interface Drawn {
  title: string;
  text: string;
  image: string;
}

/** Opens a dashboard and returns what its panels show. */
async function draw(dashboard: string): Promise<Drawn[]> {
  await tab.goto(`/projects/shop/dashboards/${dashboard}?start=${String(start)}&end=${String(end)}`);
  await tab.page.setViewportSize({ width: 1280, height: 1700 });
  const panels = tab.page.getByTestId('panel');
  await expect.poll(() => panels.count()).toBe(comparedPanels.length);
  await tab.settle();
  const drawn: Drawn[] = [];
  for (const { title } of comparedPanels) {
    const panel = panels.filter({ has: tab.page.getByRole('heading', { name: title, exact: true }) });
    drawn.push({
      title,
      text: await panel.innerText(),
      image: (await panel.screenshot({ animations: 'disabled' })).toString('base64'),
    });
  }
  return drawn;
}

describe.each(tiers)('asked of the same %s tier, the two plugins', (tier) => {
  it('draw the same ten panels', async () => {
    const direct = await draw(`${tier}-direct`);
    await tab.shoot(`${tier}-prometheus-plugin`);
    const tiered = await draw(`${tier}-tiered`);
    await tab.shoot(`${tier}-tiered-plugin`);
    expect(tiered.map(({ title, text }) => ({ title, text }))).toEqual(
      direct.map(({ title, text }) => ({ title, text }))
    );
    for (const [index, { title, image }] of tiered.entries()) {
      expect(image === direct[index]?.image, `the pictures of "${title}" are the same`).toBe(true);
    }
  });
});
