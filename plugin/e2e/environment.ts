/** What backend/test tells about the servers that it started. */
function read(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') {
    throw new Error(`${name} is not set: these tests are run by go test -tags e2e -run TestBrowser ./backend/test`);
  }
  return value;
}

export const environment = {
  /** Base URL of the page, which also leads to the API of Perses. */
  page: read('PAGE_URL'),
  /** Base URL of the gateway as Perses reaches it. */
  gateway: read('GATEWAY_URL'),
  /** Base URLs of the tiers. */
  hot: read('HOT_URL'),
  cold: read('COLD_URL'),
  /** Directory for screenshots. */
  screenshots: read('SCREENSHOTS'),
};

/** Tells backend/test to kill or start a tier. It has happened when this comes back. */
export async function control(action: '/hot/kill' | '/hot/start' | '/cold/kill'): Promise<void> {
  await post(read('CONTROL_URL') + action);
}

/** Creates a resource in Perses, such as a dashboard of the project "shop". */
export async function create(path: string, resource: unknown): Promise<void> {
  await post(environment.page + path, JSON.stringify(resource));
}

async function post(url: string, body?: string): Promise<void> {
  const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  if (!response.ok) {
    throw new Error(`POST ${url}: ${String(response.status)} ${await response.text()}`);
  }
}
