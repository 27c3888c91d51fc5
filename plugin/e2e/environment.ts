/** What backend/test tells about the servers that it started. */
function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') {
    throw new Error(`${name} is not set: backend/test starts the servers and runs these tests`);
  }
  return value;
}

/** Looked up when it is asked for: not all tests have all servers. */
export const environment = {
  /** Base URL of the page, which also leads to the API of Perses. It is made of the packages of Perses 0.53. */
  get page(): string {
    return variable('PAGE_URL');
  },
  /** The same, of the packages of Perses 0.52. */
  get page052(): string {
    return variable('PAGE_052_URL');
  },
  /** Base URL of the gateway as Perses reaches it. */
  get gateway(): string {
    return variable('GATEWAY_URL');
  },
  /** Base URLs of the tiers. */
  get hot(): string {
    return variable('HOT_URL');
  },
  get cold(): string {
    return variable('COLD_URL');
  },
  /** Base URLs of the hot tiers of two clusters, of one that does not run, and of the cold tier with both clusters. */
  get clusters(): { eu: string; us: string; broken: string; cold: string } {
    return {
      eu: variable('HOT_EU_URL'),
      us: variable('HOT_US_URL'),
      broken: variable('HOT_BROKEN_URL'),
      cold: variable('CLUSTERS_COLD_URL'),
    };
  },
  /**
   * nginx in front of Perses and of the gateway: its base URL, that of another origin, the addresses of both servers, the
   * log of requests, and the password of the user "editor".
   */
  get front(): { url: string; evil: string; perses: string; tierproxy: string; log: string; password: string } {
    return {
      url: variable('FRONT_URL'),
      evil: variable('EVIL_URL'),
      perses: variable('FRONT_PERSES'),
      tierproxy: variable('FRONT_TIERPROXY'),
      log: variable('FRONT_LOG'),
      password: variable('FRONT_PASSWORD'),
    };
  },
  /** Directory for screenshots. */
  get screenshots(): string {
    return variable('SCREENSHOTS');
  },
};

/**
 * Tells backend/test to kill or start a tier, or to take its permissions from the user "editor". It has happened when this
 * comes back.
 */
export async function control(action: `/${'hot' | 'cold'}/${'kill' | 'start'}` | '/revoke'): Promise<void> {
  await post(variable('CONTROL_URL') + action);
}

/** Replaces the rules of the hot tier by those of a rule file, which it has loaded when this comes back. */
export async function loadRules(rules: object): Promise<void> {
  await post(`${variable('CONTROL_URL')}/hot/rules`, JSON.stringify(rules));
}

/** Creates a resource in Perses, such as a dashboard of the project "shop". */
export async function create(path: string, resource: unknown): Promise<void> {
  await post(environment.page + path, JSON.stringify(resource));
}

/** Reads a resource of Perses. */
export async function read(path: string): Promise<unknown> {
  const response = await fetch(environment.page + path);
  if (!response.ok) {
    throw new Error(`GET ${path}: ${String(response.status)} ${await response.text()}`);
  }
  return response.json();
}

async function post(url: string, body?: string): Promise<void> {
  const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  if (!response.ok) {
    throw new Error(`POST ${url}: ${String(response.status)} ${await response.text()}`);
  }
}
