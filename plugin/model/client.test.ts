import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createClient, withTierChoice } from './client';
import type { TieredPrometheusDatasourceSpec } from './spec';

interface Seen {
  method?: string;
  path: string;
  parameters: Record<string, string[]>;
  headers: IncomingMessage['headers'];
}

const spec: TieredPrometheusDatasourceSpec = {
  queryParams: { dedup: 'true' },
  proxy: {
    kind: 'HTTPProxy',
    spec: {
      url: 'http://tierproxy:9190/proxy/globaldatasources/metrics',
      headers: { 'X-Scope-OrgID': 'a-tenant' },
    },
  },
};

describe('the client', () => {
  let server: Server;
  let proxyUrl: string;
  let seen: Seen[];

  beforeEach(async () => {
    seen = [];
    server = createServer((request, response) => {
      void text(request).then((body) => {
        const url = new URL(request.url ?? '', 'http://localhost');
        const parameters = new URLSearchParams([...url.searchParams, ...new URLSearchParams(body)]);
        seen.push({
          method: request.method,
          path: url.pathname,
          parameters: Object.fromEntries([...new Set(parameters.keys())].map((key) => [key, parameters.getAll(key)])),
          headers: request.headers,
        });
        response.setHeader('Content-Type', 'application/json');
        response.end('{"status":"success","data":[]}');
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    proxyUrl = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/proxy/globaldatasources/metrics`;
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('asks every endpoint below the path that Perses gives', async () => {
    const client = createClient(spec, { proxyUrl });
    await client.instantQuery({ query: 'up' });
    await client.rangeQuery({ query: 'up', start: 1, end: 2, step: 3 });
    await client.labelNames({});
    await client.labelValues({ labelName: 'a/b' });
    await client.metricMetadata({});
    await client.series({ 'match[]': ['up', 'down'] });
    await client.parseQuery({ query: 'up' });
    expect(await client.healthCheck?.()).toBe(true);
    expect(
      seen.map(({ method, path }) => `${String(method)} ${path.replace('/proxy/globaldatasources/metrics', '')}`)
    ).toEqual([
      'POST /api/v1/query',
      'POST /api/v1/query_range',
      'POST /api/v1/labels',
      'GET /api/v1/label/a%2Fb/values',
      'GET /api/v1/metadata',
      'POST /api/v1/series',
      'POST /api/v1/parse_query',
      'GET /-/healthy',
    ]);
    expect(seen[1]?.parameters).toEqual({ query: ['up'], start: ['1'], end: ['2'], step: ['3'], dedup: ['true'] });
    expect(seen[5]?.parameters).toEqual({ 'match[]': ['up', 'down'], dedup: ['true'] });
  });

  it('leaves the headers of the proxy to Perses', async () => {
    await createClient(spec, { proxyUrl }).instantQuery({ query: 'up' });
    expect(seen[0]?.headers).not.toHaveProperty('x-scope-orgid');
  });

  it('says which tier a query asks for, and nothing where the gateway chooses', async () => {
    const client = createClient(spec, { proxyUrl });
    await withTierChoice(client, 'cold').rangeQuery({ query: 'up', start: 1, end: 2, step: 3 }, { 'X-More': 'kept' });
    await withTierChoice(client, 'hot').instantQuery({ query: 'up' });
    await withTierChoice(client, 'auto').instantQuery({ query: 'up' });
    await withTierChoice(client).instantQuery({ query: 'up' });
    expect(seen.map(({ headers }) => headers['x-tier-choice'])).toEqual(['cold', 'hot', undefined, undefined]);
    expect(seen[0]?.headers).toHaveProperty('x-more', 'kept');
  });

  it('refuses to work without the proxy of Perses', () => {
    expect(() => createClient(spec, {})).toThrow('through the proxy of Perses');
  });
});
