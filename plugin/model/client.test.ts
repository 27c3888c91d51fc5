import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Seen, TestServer } from '../testing/gateway';
import { startServer } from '../testing/gateway';
import { answerOf } from './answer';
import { checkDatasource, checkUnsaved } from './check';
import { createClient, withSignal, withTierChoice } from './client';
import { GatewayError } from './request';
import type { TieredPrometheusDatasourceSpec } from './spec';

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
  let server: TestServer;
  let persesUrl: string;
  let proxyUrl: string;
  let seen: Seen[];
  /** Answers instead of the empty success. */
  let answer: ((response: ServerResponse) => void) | undefined;

  beforeEach(async () => {
    answer = undefined;
    server = await startServer((_, response) => {
      if (answer === undefined) {
        response.end('{"status":"success","data":[]}');
      } else {
        answer(response);
      }
    });
    ({ seen, url: persesUrl } = server);
    proxyUrl = `${persesUrl}/proxy/globaldatasources/metrics`;
  });
  afterEach(() => server.close());

  it('asks every endpoint below the path that Perses gives', async () => {
    const client = createClient(spec, { proxyUrl });
    await client.instantQuery({ query: 'up' });
    await client.rangeQuery({ query: 'up', start: 1, end: 2, step: 3 });
    await client.labelNames({});
    await client.labelValues({ labelName: 'a/b' });
    await client.metricMetadata({});
    await client.series({ 'match[]': ['up', 'down'] });
    await client.parseQuery({ query: 'up' });
    await client.explain({ query: 'up', start: 1, end: 2, step: 3 });
    await client.alertThresholds({ alert: ['A', 'B'], 'match[]': ['{severity="page"}'] });
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
      'POST /api/v1/datasources/explain',
      'POST /api/v1/alert_thresholds',
      'GET /-/healthy',
    ]);
    expect(seen[1]?.parameters).toEqual({ query: ['up'], start: ['1'], end: ['2'], step: ['3'], dedup: ['true'] });
    expect(seen[3]?.parameters).toEqual({ dedup: ['true'] });
    expect(seen[5]?.parameters).toEqual({ 'match[]': ['up', 'down'], dedup: ['true'] });
    expect(seen[7]?.parameters).toEqual(seen[1]?.parameters);
    expect(seen[8]?.parameters).toEqual({ alert: ['A', 'B'], 'match[]': ['{severity="page"}'], dedup: ['true'] });
  });

  it('asks nobody for the values of no label', async () => {
    expect(await createClient(spec, { proxyUrl }).labelValues({ labelName: '' })).toMatchObject({ data: [] });
    expect(seen).toEqual([]);
  });

  it('leaves the headers of the proxy to Perses', async () => {
    await createClient(spec, { proxyUrl }).instantQuery({ query: 'up' });
    expect(seen[0]?.headers).not.toHaveProperty('x-scope-orgid');
  });

  it('says which tier a query asks for, and nothing where the gateway chooses', async () => {
    const client = createClient(spec, { proxyUrl });
    await withTierChoice(client, 'cold').rangeQuery({ query: 'up', start: 1, end: 2, step: 3 }, { 'X-More': 'kept' });
    await withTierChoice(client, 'hot').instantQuery({ query: 'up' });
    await withTierChoice(client, 'hot').explain({ query: 'up' });
    await withTierChoice(client, 'auto').instantQuery({ query: 'up' });
    await withTierChoice(client).instantQuery({ query: 'up' });
    await expect(withTierChoice(client, 'cold').live({ query: 'up', step: 15, range: 60 })).rejects.toThrow('stream');
    expect(seen.map(({ headers }) => headers['x-tier-choice'])).toEqual([
      'cold',
      'hot',
      'hot',
      undefined,
      undefined,
      'cold',
    ]);
    expect(seen[0]?.headers).toHaveProperty('x-more', 'kept');
  });

  it.each(['instantQuery', 'labelValues'] as const)('tells what answered, of POST and of GET: %s', async (endpoint) => {
    answer = (response) => {
      response.setHeader('X-Tier', 'cold');
      response.setHeader('X-Tier-Reason', 'not-in-hot');
      response.setHeader('Server-Timing', 'upstream;dur=10.500;desc="cold", tierproxy;dur=2.000');
      response.end('{"status":"success","data":[],"warnings":["one","two","one"],"infos":["three"]}');
    };
    const client = createClient(spec, { proxyUrl });
    const body =
      endpoint === 'labelValues'
        ? await client.labelValues({ labelName: 'job' })
        : await client.instantQuery({ query: 'up' });
    expect(answerOf(body)).toEqual({
      tier: 'cold',
      reason: 'not-in-hot',
      durationMs: 12.5,
      warnings: ['one', 'two'],
      infos: ['three'],
    });
  });

  it.each([
    {
      what: 'the gateway',
      status: 502,
      body: '{"status":"error","errorType":"bad_gateway","error":"both tiers are down"}',
      message: 'both tiers are down',
    },
    { what: 'Perses', status: 403, body: '{"message":"not allowed"}', message: 'not allowed' },
    {
      what: 'an ingress',
      status: 502,
      body: '<html>Bad Gateway</html>',
      type: 'text/html',
      message: '502 Bad Gateway',
    },
    {
      what: 'a plain server',
      status: 504,
      body: 'upstream timed out\nmore',
      type: 'text/plain; charset=utf-8',
      message: '504 Gateway Timeout: upstream timed out',
    },
    {
      what: 'a server that says nothing',
      status: 502,
      body: ' \n',
      type: 'text/plain',
      message: '502 Bad Gateway',
    },
    {
      what: 'a server that says much',
      status: 502,
      body: 'x'.repeat(300),
      type: 'text/plain',
      message: `502 Bad Gateway: ${'x'.repeat(200)}`,
    },
    {
      what: 'a sign-in page',
      status: 200,
      body: '<html></html>',
      message: 'The answer of /api/v1/query is not JSON: is there another server, or a sign-in page, in between?',
    },
  ])('surfaces the message of an error of $what', async ({ status, body, type, message }) => {
    answer = (response) => {
      response.statusCode = status;
      response.setHeader('Content-Type', type ?? 'application/json');
      response.setHeader('X-Tier', 'cold');
      response.setHeader('X-Tier-Reason', 'cold-failed');
      response.end(body);
    };
    const failure = await createClient(spec, { proxyUrl })
      .instantQuery({ query: 'up' })
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(GatewayError);
    expect(failure).toMatchObject({ status, tier: 'cold', reason: 'cold-failed' });
    expect((failure as GatewayError).message.replace(proxyUrl, '')).toBe(message);
  });

  it('ends a request that nobody waits for any more', async () => {
    const controller = new AbortController();
    let closed = false;
    answer = (response) => {
      response.on('close', () => (closed = true));
      controller.abort();
    };
    await expect(
      withSignal(createClient(spec, { proxyUrl }), controller.signal).rangeQuery({
        query: 'up',
        start: 1,
        end: 2,
        step: 3,
      })
    ).rejects.toThrow(/abort/i);
    await vi.waitFor(() => {
      expect(closed).toBe(true);
    });
  });

  it('asks for a report on a spec by way of the saved datasource', async () => {
    answer = (response) => response.end('{"status":"success","data":{"ok":true,"mistakes":[],"tiers":{}}}');
    expect(await createClient(spec, { proxyUrl }).check(spec)).toEqual({ ok: true, mistakes: [], tiers: {} });
    expect(seen[0]).toMatchObject({
      method: 'POST',
      path: '/proxy/globaldatasources/metrics/api/v1/datasources/check',
    });
    expect(seen[0]?.headers['content-type']).toBe('application/json');
    expect(JSON.parse(seen[0]?.body ?? '')).toEqual(spec);
  });

  it.each([
    [{}, '/proxy/unsaved/globaldatasources'],
    [{ project: 'a b' }, '/proxy/unsaved/projects/a%20b/datasources'],
    [{ project: 'p', dashboard: 'd' }, '/proxy/unsaved/projects/p/dashboards/d/datasources'],
  ])('asks for a report on a datasource that is not saved: %o', async (place, path) => {
    answer = (response) => response.end('{"status":"success","data":{"ok":true,"mistakes":[],"tiers":{}}}');
    const named = { ...spec, queryParams: { team: 'Größe' } };
    expect(await checkUnsaved(persesUrl, place, named)).toMatchObject({ ok: true });
    expect(seen[0]).toMatchObject({ method: 'POST', path: `${path}/api/v1/datasources/check` });
    const wrapped = JSON.parse(seen[0]?.body ?? '') as { method: string; body: string; spec: { plugin: unknown } };
    expect(wrapped.method).toBe('POST');
    expect(JSON.parse(Buffer.from(wrapped.body, 'base64').toString())).toEqual(named);
    expect(wrapped.spec.plugin).toEqual({ kind: 'TieredPrometheusDatasource', spec: named });
  });

  it('asks by way of the saved datasource where the caller may not create one', async () => {
    answer = (response) => {
      if (seen.at(-1)?.path.startsWith('/proxy/unsaved/') === true) {
        response.statusCode = 403;
        response.end('{"error":"missing permission to create"}');
      } else if (seen.at(-1)?.path.includes('/metrics/') === true) {
        response.end('{"status":"success","data":{"ok":true,"mistakes":[],"tiers":{}}}');
      } else {
        response.statusCode = 404;
        response.end('{"error":"there is none"}');
      }
    };
    expect(await checkDatasource(persesUrl, { project: 'p', name: 'metrics' }, spec)).toMatchObject({ ok: true });
    expect(seen.map(({ path }) => path.replace('/api/v1/datasources/check', ''))).toEqual([
      '/proxy/unsaved/projects/p/datasources',
      '/proxy/projects/p/datasources/metrics',
    ]);
    const refused = /missing permission/;
    await expect(checkDatasource(persesUrl, { name: 'another' }, spec)).rejects.toThrow(refused);
    await expect(checkDatasource(persesUrl, {}, spec)).rejects.toThrow(refused);
  });

  it('refuses to work without the proxy of Perses', () => {
    expect(() => createClient(spec, {})).toThrow('through the proxy of Perses');
  });
});
