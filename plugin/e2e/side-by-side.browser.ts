import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import { Tab } from './browser';
import { create, environment } from './environment';
import { comparedPanels, comparisonDashboard, prometheusDatasource, tieredDatasource } from './panels';

/** An hour that ended some minutes ago: nothing is added to it any more, and both tiers hold it. */
const end = Math.floor(Date.now() / 600_000) * 600_000 - 600_000;
const start = end - 3_600_000;

const tiers = ['hot', 'cold'] as const;

let tab: Tab;

beforeAll(async () => {
  await create('/api/v1/globaldatasources', tieredDatasource('side-by-side', environment.gateway));
  await create('/api/v1/globaldatasources', prometheusDatasource('direct-cold', environment.cold));
  // Not straight to hot, to whose series the gateway adds the external labels that cold has on them.
  const url = `${environment.gateway}/proxy/globaldatasources/side-by-side`;
  await create('/api/v1/globaldatasources', prometheusDatasource('direct-hot', url, { 'X-Tier-Choice': 'hot' }));
  for (const tier of tiers) {
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
  // The panels of others are made for 0.52: the table does not run on 0.53.
  tab = await Tab.open('side-by-side', environment.page052);
});

afterAll(() => tab.close());

afterEach((context) => tab.examine(context));

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

interface Question {
  module: string;
  kind: string;
  datasource: string;
  query: object;
  mode: 'range' | 'instant';
}

/** What a plugin returns for a query, but for what it says of the answer. */
interface Answered {
  series: unknown[];
  timeRange: unknown;
  stepMs: unknown;
  executedQueryString: unknown;
}

/** Lets the plugins that the page has loaded run a query, as a panel does. */
function ask(question: Question): Promise<Answered> {
  return tab.page.evaluate(
    async ({ module, kind, datasource, query, mode, start, end }) => {
      interface DatasourcePlugin {
        createClient: (spec: unknown, options: { proxyUrl: string }) => unknown;
      }
      interface QueryPlugin {
        getTimeSeriesData: (spec: object, context: object) => Promise<Answered & { metadata: Answered }>;
      }
      interface Host {
        name: string;
        loadRemote: (path: string) => Promise<Record<string, unknown>>;
      }
      const { __FEDERATION__: federation } = globalThis as unknown as { __FEDERATION__: { __INSTANCES__: Host[] } };
      const host = federation.__INSTANCES__.find(({ name }) => name === '@perses/perses-ui-host');
      const load = async <Plugin>(name: string): Promise<Plugin> =>
        (await host?.loadRemote(`${module}/${name}`))?.[name] as Plugin;
      const response = await fetch(`/api/v1/globaldatasources/${datasource}`);
      const { spec } = (await response.json()) as { spec: { plugin: { kind: string; spec: unknown } } };
      const client = (await load<DatasourcePlugin>(spec.plugin.kind)).createClient(spec.plugin.spec, {
        proxyUrl: `/proxy/globaldatasources/${datasource}`,
      });
      const { series, timeRange, stepMs, metadata } = await (
        await load<QueryPlugin>(kind)
      ).getTimeSeriesData(
        { ...query, datasource: { kind: spec.plugin.kind, name: datasource } },
        {
          timeRange: { start: new Date(start), end: new Date(end) },
          variableState: {},
          refreshKey: '',
          mode,
          datasourceStore: {
            getDatasource: () => Promise.resolve(spec),
            getDatasourceClient: () => Promise.resolve(client),
            listDatasourceSelectItems: () => Promise.resolve([]),
          },
        }
      );
      return { series, timeRange, stepMs, executedQueryString: metadata.executedQueryString };
    },
    { ...question, start, end }
  );
}

describe.each(tiers)('asked of the same %s tier, the two plugins', (tier) => {
  it('draw the same ten panels', async () => {
    const direct = await draw(`${tier}-direct`);
    const tiered = await draw(`${tier}-tiered`);
    if (tier === 'hot') {
      await tab.shoot('panels', { height: 1700 });
    }
    expect(tiered.map(({ title, text }) => ({ title, text }))).toEqual(
      direct.map(({ title, text }) => ({ title, text }))
    );
    for (const [index, { title, image }] of tiered.entries()) {
      expect(image === direct[index]?.image, `the pictures of "${title}" are the same`).toBe(true);
    }
  });

  it.each(comparedPanels)('get the same series for "$title"', async ({ query, mode }) => {
    const direct = await ask({
      module: 'Prometheus',
      kind: 'PrometheusTimeSeriesQuery',
      datasource: `direct-${tier}`,
      query,
      mode,
    });
    const tiered = await ask({
      module: 'TieredPrometheus',
      kind: 'TieredPrometheusTimeSeriesQuery',
      datasource: 'side-by-side',
      query: { ...query, tier },
      mode,
    });
    expect(direct.series).not.toEqual([]);
    expect(tiered).toEqual(direct);
  });
});
