import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Tab } from './browser';
import { control, environment } from './environment';
import { choose, noticeOf, panelOf } from './page';

let tab: Tab;

beforeAll(async () => {
  tab = await Tab.open('front', environment.front.url, { insecure: true, script: refreshSession });
});

afterAll(() => tab.close());

let allowed: RegExp[] = [];

// A session ends while the page is open: that is part of these tests.
const expired = /^Failed to load resource: the server responded with a status of 401/;

afterEach((context) => tab.examine(context, [expired, ...allowed]));

/** What the web UI of Perses does with answers of status 401: enableRefreshFetch in ui/app/src/model/fetch.ts of Perses 0.54. */
function refreshSession(): void {
  globalThis.fetch = new Proxy(globalThis.fetch, {
    apply: async (target, that, args: Parameters<typeof fetch>): Promise<Response> => {
      const response = await target.apply(that, args);
      if (response.status !== 401) {
        return response;
      }
      await response.clone().text(); // An answer that nobody reads keeps its request running.
      const refreshed = await target.apply(that, ['/api/auth/refresh', { method: 'POST' }]);
      return refreshed.ok ? target.apply(that, args) : response;
    },
  });
}

/** A request in the log of nginx. */
interface Logged {
  status: number;
  upstream: string;
  method: string;
  target: string;
}

/** Returns the requests whose target contains a text, and whose answers have gone out. */
function logged(part: string): Logged[] {
  return readFileSync(environment.front.log, 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as Logged)
    .filter(({ target }) => target.includes(part));
}

// Of both names, the panel takes the datasource of the project.
const metrics = '/proxy/projects/shop/datasources/metrics/api/v1/';
const { perses, tierproxy } = environment.front;

async function refresh(): Promise<void> {
  await tab.page.getByRole('button', { name: 'Refresh' }).click();
  await tab.settle();
}

/** Sends a request from the page as it is, without what the web UI of Perses adds, and returns the status. */
function status(target: string, method = 'GET', body?: object): Promise<number> {
  return tab.page.evaluate(
    async (request) =>
      new Promise<number>((resolve) => {
        const sent = new XMLHttpRequest();
        sent.open(request.method, request.target);
        sent.setRequestHeader('Content-Type', 'application/json');
        sent.onloadend = (): void => {
          resolve(sent.status);
        };
        sent.send(request.body);
      }),
    { target, method, body: body === undefined ? undefined : JSON.stringify(body) }
  );
}

/** Sends a request from the page with what the web UI of Perses adds, and returns the status of the last answer. */
function statusAsPerses(target: string): Promise<number> {
  return tab.page.evaluate(async (url) => {
    const response = await fetch(url);
    await response.text();
    return response.status;
  }, target);
}

it('logs in', async () => {
  allowed = [/^Failed to load resource: the server responded with a status of 404/];
  await tab.goto('/static/nothing');
  const login = { login: 'editor', password: environment.front.password };
  expect(await status('/api/auth/providers/native/login', 'POST', login)).toBe(200);
  const cookies = await tab.page.context().cookies();
  expect(cookies.map(({ name, sameSite }) => `${name} ${sameSite}`).sort()).toEqual([
    'jwtPayload Lax',
    'jwtRefreshToken Lax',
    'jwtSignature Lax',
  ]);
});

it('shows panels whose queries do not pass through Perses', async () => {
  allowed = [];
  await tab.goto('/projects/shop/dashboards/front');
  await expect.poll(() => noticeOf(tab.page, 'Requests')).toMatch(/^hot answered: /);
  expect(await panelOf(tab.page, 'Requests').innerText()).toMatch(/cart.*checkout.*search/s);
  await expect.poll(() => logged(metrics).filter(({ status }) => status === 200).length).toBeGreaterThan(0);
  expect(logged(metrics).filter(({ upstream }) => upstream !== tierproxy)).toEqual([]);
  expect(logged('/api/v1/projects').every(({ upstream }) => upstream === perses)).toBe(true);
  await tab.page.screenshot({ path: `${environment.screenshots}/front-dashboard.png` });
});

it('goes on when the session has expired: the page gets 401, and refreshes it', async () => {
  const before = logged(metrics).length;
  const refreshed = logged('/api/auth/refresh').length;
  const statuses = (): number[] => logged(metrics).map((each) => each.status);
  await expect
    .poll(async () => {
      expect(await statusAsPerses(`${metrics}labels`)).toBe(200);
      return statuses().slice(before);
    })
    .toContain(401);
  await expect.poll(() => statuses().slice(statuses().indexOf(401, before))).toContain(200);
  expect(logged('/api/auth/refresh').slice(refreshed)).toContainEqual(
    expect.objectContaining({ status: 200, upstream: perses })
  );
  await refresh();
  expect(await panelOf(tab.page, 'Requests').innerText()).toMatch(/cart.*checkout.*search/s);
});

it('refuses pages of other origins, which have the cookies of the visitor', async () => {
  const { evil } = environment.front;
  const page = await tab.page.context().newPage();
  const target = `${environment.front.url}${metrics}query?query=vector(1)`;
  const refused = (mark: string): Promise<void> =>
    expect.poll(() => logged(mark)).toEqual([expect.objectContaining({ status: 403, upstream: tierproxy }) as Logged]);
  // Another port is another origin, but the same site: the browser sends the cookies.
  await page.goto(evil);
  await page.evaluate(
    (url) => fetch(url, { mode: 'no-cors', credentials: 'include' }).then(() => undefined),
    `${target}&by=fetch`
  );
  await refused('by=fetch');
  await page.evaluate((url) => {
    new Image().setAttribute('src', url);
  }, `${target}&by=image`);
  await refused('by=image');
  // Another site: the browser sends the cookies only when the visitor follows a link.
  await page.goto(evil.replace('localhost', '127.0.0.1'));
  await page.evaluate((url) => {
    location.href = url;
  }, `${target}&by=link`);
  await page.getByText('a page of another origin may not query').waitFor();
  await refused('by=link');
  await page.close();
});

it('checks a datasource that is not saved through Perses', async () => {
  await tab.goto('/admin/datasources');
  await tab.page.getByRole('button', { name: 'Add datasource' }).click();
  const form = tab.page.getByTestId('datasource-editor');
  await choose(form, 'Source', 'Tiered Prometheus Datasource');
  await form.getByRole('textbox', { name: 'Name', exact: true }).fill('unsaved');
  await form.getByLabel('Proxy URL').fill(`${environment.gateway}/proxy/globaldatasources/unsaved`);
  await form.getByRole('button', { name: 'Check' }).click();
  await form.getByText('This datasource works.').waitFor();
  await expect.poll(() => logged('/proxy/unsaved/').at(-1)).toMatchObject({ status: 200, upstream: perses });
});

it('loses a permission that is revoked, and the session at the logout', async () => {
  allowed = [/^Failed to load resource: the server responded with a status of 40[034]/];
  await tab.goto('/static/nothing');
  expect(await statusAsPerses(`${metrics}labels`)).toBe(200);
  await control('/revoke');
  await expect.poll(() => statusAsPerses(`${metrics}labels`)).toBe(403);
  await statusAsPerses('/api/auth/logout');
  expect(await tab.page.context().cookies()).toEqual([]);
  expect(await status(`${metrics}labels`)).toBe(401);
  expect(await statusAsPerses(`${metrics}labels`)).toBe(401);
  expect(logged('/api/auth/refresh').at(-1)).toMatchObject({ status: 400, upstream: perses });
});
