import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Tab } from './browser';
import { environment } from './environment';
import { panelOf } from './page';

interface Dashboard {
  spec: {
    panels: Record<string, { spec: { display: { name: string }; queries: unknown[] } }>;
  };
}

const dashboard = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../deploy/monitoring/dashboard.json'), 'utf8')
) as Dashboard;
const panels = Object.values(dashboard.spec.panels).map(({ spec }) => spec);

let tab: Tab;

beforeAll(async () => {
  tab = await Tab.open('tierproxy');
});

afterAll(() => tab.close());

afterEach((context) => tab.examine(context));

/** Counts the points of a panel's drawing that have a colour: axes and texts have none. */
async function colouredPoints(panel: Locator): Promise<number> {
  return panel.locator('canvas').evaluateAll((canvases) =>
    canvases.reduce((sum, canvas) => {
      const { width, height } = canvas as HTMLCanvasElement;
      const points = (canvas as HTMLCanvasElement).getContext('2d')?.getImageData(0, 0, width, height).data ?? [];
      for (let i = 0; i < points.length; i += 4) {
        const [red, green, blue, alpha] = [points[i] ?? 0, points[i + 1] ?? 0, points[i + 2] ?? 0, points[i + 3] ?? 0];
        if (alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 40) {
          sum++;
        }
      }
      return sum;
    }, 0)
  );
}

it('draws the first panel of the installation', async () => {
  await tab.goto('/projects/first/dashboards/first-panel?refresh=0s');
  const panel = panelOf(tab.page, 'Targets that are up');
  await expect.poll(() => colouredPoints(panel)).toBeGreaterThan(20);
  await expect.poll(() => panel.innerText()).toMatch(/cart.*checkout.*search/s);
});

it('draws every panel of the dashboard of tierproxy', async () => {
  let answers = 0;
  const empty: string[] = [];
  tab.page.on('response', (response) => {
    if (!response.url().includes('/query_range')) {
      return;
    }
    void response.json().then((body: { data?: { result: unknown[] } }) => {
      answers++;
      if (!body.data?.result.length) {
        empty.push(response.request().postData() ?? response.url());
      }
    });
  });
  // On a busy machine a page that refreshes begins anew before it is done, and placeholders that pulse take all of a core.
  await tab.page.addInitScript(() => {
    addEventListener('DOMContentLoaded', () => {
      const style = document.createElement('style');
      style.textContent = '* { animation: none !important }';
      document.head.append(style);
    });
  });
  await tab.goto('/projects/tierproxy/dashboards/tierproxy?refresh=0s');
  // Panels that are out of sight are not drawn.
  await tab.page.setViewportSize({ width: 1440, height: 2760 });
  await expect.poll(() => tab.page.getByTestId('panel').count()).toBe(panels.length);
  await tab.settle();

  for (const { display } of panels) {
    const panel = panelOf(tab.page, display.name);
    await expect.poll(() => panel.locator('canvas').count(), { message: display.name }).toBeGreaterThan(0);
    await expect.poll(() => colouredPoints(panel), { message: display.name }).toBeGreaterThan(20);
    expect(await panel.innerText(), display.name).not.toMatch(/no data|error|failed to/i);
    expect(await panel.getByRole('alert').count(), display.name).toBe(0);
  }
  expect(empty).toEqual([]);
  expect(answers).toBeGreaterThanOrEqual(panels.flatMap(({ queries }) => queries).length);
  mkdirSync(environment.screenshots, { recursive: true });
  await tab.page.screenshot({ path: join(environment.screenshots, 'tierproxy-dashboard.png'), animations: 'disabled' });
});
