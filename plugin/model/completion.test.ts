import { afterEach, beforeEach, expect, it } from 'vitest';
import type { TestServer } from '../testing/gateway';
import { startServer } from '../testing/gateway';
import { completeConfig } from './completion';

let server: TestServer;
beforeEach(async () => {
  server = await startServer((_, response) => response.end('{"status":"success","data":[]}'));
});
afterEach(() => server.close());

it('completes from the datasource, with its queryParams', async () => {
  const { remote } = completeConfig(`${server.url}/proxy/globaldatasources/metrics`, { dedup: 'true' });
  if (remote === undefined || !('fetchFn' in remote) || remote.fetchFn === undefined) {
    throw new Error('there is nothing to complete from');
  }
  await remote.fetchFn(`${String(remote.url)}/api/v1/labels`, { method: 'POST' });
  await remote.fetchFn(`${String(remote.url)}/api/v1/label/job/values?start=1`);
  expect(server.seen).toMatchObject([
    { method: 'POST', path: '/proxy/globaldatasources/metrics/api/v1/labels', parameters: { dedup: ['true'] } },
    { path: '/proxy/globaldatasources/metrics/api/v1/label/job/values', parameters: { start: ['1'], dedup: ['true'] } },
  ]);
});

it('completes PromQL itself while the datasource is not known', () => {
  expect(completeConfig(undefined)).toEqual({});
});
