import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { TestServer } from '../testing/gateway';
import { startServer } from '../testing/gateway';
import { beginStream, liveEvent, otherEvent } from '../testing/live';
import { createClient } from './client';
import type { LiveTimes, LiveUpdate } from './live';
import { followLive } from './live';

/** What the server does with one connection. */
type Connection = (response: ServerResponse) => void | Promise<void>;

let server: TestServer;
let end: AbortController;
let ended: Promise<void>;
let updates: LiveUpdate[];
/** Of each connection: when it arrived, and whether it is closed. */
let connections: { at: number; isClosed: boolean }[];

afterEach(async () => {
  vi.unstubAllGlobals();
  end.abort();
  await ended;
  await server.close();
});

/** Follows a query of a server that does one thing after the other, and the last one for all that follow. */
async function follow(script: Connection[], times: Partial<LiveTimes> = {}): Promise<void> {
  connections = [];
  updates = [];
  server = await startServer((_, response) => {
    const connection = { at: performance.now(), isClosed: false };
    connections.push(connection);
    response.on('close', () => {
      connection.isClosed = true;
    });
    void script[Math.min(connections.length, script.length) - 1]?.(response);
  });
  end = new AbortController();
  const client = createClient({ queryParams: { dedup: 'true' } } as never, { proxyUrl: server.url });
  ended = followLive(
    (headers, signal) => client.live({ query: 'up', step: 15, range: 60 }, headers, signal),
    (update) => updates.push(update),
    end.signal,
    { retryMs: 20, maxRetryMs: 200, ...times }
  );
}

const kinds = () => updates.map(({ kind }) => kind);
const seesUpdates = (expected: LiveUpdate['kind'][]) =>
  vi.waitFor(
    () => {
      expect(kinds()).toEqual(expected);
    },
    { timeout: 30_000 }
  );
const lastIds = () => server.seen.map(({ headers }) => headers['last-event-id']);

const snapshot = liveEvent('snapshot', { id: 45, start: 15, end: 60 });
const append = liveEvent('append', { id: 60, start: 75, end: 75 });
/** A connection that stays open. */
const open =
  (text: string): Connection =>
  (response) => {
    beginStream(response, text);
  };
/** A connection that the server closes. */
const closed =
  (text: string): Connection =>
  (response) => {
    beginStream(response, text);
    response.end();
  };
const refused =
  (status: number, body: object, headers: Record<string, string> = {}): Connection =>
  (response) => {
    response.writeHead(status, headers).end(JSON.stringify(body));
  };

describe('a live query', () => {
  it('asks as the other requests of the datasource do, and gets snapshots and appends', async () => {
    await follow([open(`: hello\n\n${snapshot}${append}`)]);
    await seesUpdates(['open', 'snapshot', 'append']);
    expect(server.seen).toMatchObject([
      {
        method: 'GET',
        path: '/api/v1/metrics/live',
        parameters: { query: ['up'], step: ['15'], range: ['60'], dedup: ['true'] },
        headers: { accept: 'text/event-stream' },
      },
    ]);
    expect(lastIds()).toEqual([undefined]);
    expect(updates[2]).toMatchObject({ body: { live: { start: 75, end: 75, step: 15, tier: 'hot' } } });
    expect(updates[2]).not.toHaveProperty('keepUpTo');
  });

  it('goes on behind the last id where the connection breaks', async () => {
    await follow([closed(snapshot + append), open(append)]);
    await seesUpdates(['open', 'snapshot', 'append', 'reconnecting', 'open', 'append']);
    expect(lastIds()).toEqual([undefined, '60']);
    expect(updates[5]).toHaveProperty('keepUpTo', 60);
  });

  it('takes nothing of an event that is cut off, and gets it again', async () => {
    await follow([closed(snapshot + append.slice(0, -1)), open(append)]);
    await seesUpdates(['open', 'snapshot', 'reconnecting', 'open', 'append']);
    expect(lastIds()).toEqual([undefined, '45']);
  });

  it('goes on where the connection is reset, and before there was any', async () => {
    const reset: Connection = (response) => {
      response.destroy();
    };
    await follow([
      reset,
      (response) => {
        beginStream(response, snapshot);
        setTimeout(() => {
          response.destroy();
        }, 50);
      },
      open(snapshot),
    ]);
    await seesUpdates(['reconnecting', 'open', 'snapshot', 'reconnecting', 'open', 'snapshot']);
  });

  it('reads a slow stream whose letters arrive in parts', async () => {
    const bytes = Buffer.from(
      liveEvent('snapshot', { id: 45, start: 15, end: 60, result: [{ metric: { job: 'Größe \u{1F525}' } }] })
    );
    await follow([
      async (response) => {
        beginStream(response);
        for (const byte of bytes) {
          response.write(Buffer.of(byte));
          await sleep(1);
        }
      },
    ]);
    await seesUpdates(['open', 'snapshot']);
    expect(updates[1]).toMatchObject({ body: { data: { result: [{ metric: { job: 'Größe \u{1F525}' } }] } } });
  });

  it('stays connected where an evaluation fails', async () => {
    const error = otherEvent('error', { status: 'error', errorType: 'unavailable', error: 'no tier answers' });
    await follow([open(snapshot + error + append)]);
    await seesUpdates(['open', 'snapshot', 'failed', 'append']);
    expect(updates[2]).toEqual({ kind: 'failed', message: 'no tier answers' });
  });

  it('connects again where nothing comes, not even a keep-alive', async () => {
    const keptAlive: Connection = async (response) => {
      beginStream(response, snapshot);
      for (let i = 0; i < 8; i++) {
        await sleep(400);
        response.write(': keep-alive\n\n');
      }
    };
    await follow([keptAlive, open(append)], { silenceMs: 3000 });
    await seesUpdates(['open', 'snapshot', 'reconnecting', 'open', 'append']);
    expect(updates[2]).toHaveProperty('message', 'Nothing has come for a while.');
    expect((connections[1]?.at ?? 0) - (connections[0]?.at ?? 0)).toBeGreaterThan(6000);
    await vi.waitFor(() => {
      expect(connections[0]?.isClosed).toBe(true);
    });
  });

  it('closes the connection when it is to end, and opens no other', async () => {
    await follow([open(snapshot)]);
    await seesUpdates(['open', 'snapshot']);
    end.abort();
    await ended;
    await vi.waitFor(() => {
      expect(connections[0]?.isClosed).toBe(true);
    });
    await sleep(100);
    expect(connections).toHaveLength(1);
    expect(kinds()).toEqual(['open', 'snapshot']);
  });

  it('opens no connection more when it is to end while it waits', async () => {
    await follow([refused(503, {}, { 'Retry-After': '60' })]);
    await seesUpdates(['reconnecting']);
    end.abort();
    await ended;
    expect(connections).toHaveLength(1);
  });
});

describe('the end of a live query', () => {
  const ends = (reason: string) => closed(snapshot + otherEvent('end', { reason, message: `because of ${reason}` }));

  it('is none where a gateway shuts down: another one goes on behind the last id', async () => {
    await follow([ends('shutdown'), open(append)]);
    await seesUpdates(['open', 'snapshot', 'reconnecting', 'open', 'append']);
    expect(updates[2]).toHaveProperty('message', 'because of shutdown');
    expect(lastIds()).toEqual([undefined, '45']);
  });

  it('is none where the datasource changes: everything is read anew', async () => {
    await follow([ends('datasource'), open(snapshot)]);
    await seesUpdates(['open', 'snapshot', 'reconnecting', 'open', 'snapshot']);
    expect(lastIds()).toEqual([undefined, undefined]);
  });

  it('is that of the permission, once a new request lacks it too', async () => {
    await follow([ends('permission'), refused(403, { error: 'missing read on metrics' })]);
    await ended;
    expect(kinds()).toEqual(['open', 'snapshot', 'reconnecting', 'stopped']);
    expect(updates[3]).toHaveProperty('message', expect.stringMatching(/^You may not .*: missing read on metrics$/));
  });

  it('is that of the permission, once it is gone twice', async () => {
    await follow([ends('permission')]);
    await ended;
    expect(kinds()).toEqual(['open', 'snapshot', 'reconnecting', 'open', 'snapshot', 'stopped']);
    expect(updates.at(-1)).toHaveProperty('message', expect.stringMatching(/^You may not .*: because of permission$/));
  });

  it('is none where the session has expired, which the fetch of Perses renews', async () => {
    const original = globalThis.fetch;
    let isExpired = false;
    vi.stubGlobal('fetch', async (...request: Parameters<typeof fetch>) => {
      const response = await original(...request);
      isExpired ||= response.status === 401;
      return response.status === 401 ? original(...request) : response;
    });
    await follow([ends('permission'), refused(401, { error: 'expired' }), open(append)]);
    await seesUpdates(['open', 'snapshot', 'reconnecting', 'open', 'append']);
    expect(isExpired).toBe(true);
    expect(lastIds()).toEqual([undefined, '45', '45']);
  });

  it.each([
    [400, { status: 'error', errorType: 'bad_data', error: 'parse error' }, 'parse error'],
    [401, { message: 'no session' }, 'You may not read this datasource any more, or not live: no session'],
    [404, { error: 'no such datasource' }, 'no such datasource'],
    [200, { no: 'stream' }, /is not a stream of events/],
  ])('is a refusal that lasts: status %i', async (status, body, message) => {
    await follow([refused(status, body)]);
    await ended;
    expect(updates).toMatchObject([{ kind: 'stopped', message: expect.stringMatching(message) as string }]);
    expect(connections).toHaveLength(1);
  });

  it('is none where a refusal passes: it waits for as long as it is told', async () => {
    await follow([
      refused(503, { error: 'too many streams' }, { 'Retry-After': '1' }),
      refused(502, {}),
      open(snapshot),
    ]);
    await seesUpdates(['reconnecting', 'reconnecting', 'open', 'snapshot']);
    expect(updates[0]).toHaveProperty('message', 'too many streams');
    expect((connections[1]?.at ?? 0) - (connections[0]?.at ?? 0)).toBeGreaterThan(990);
  });

  it('waits longer after each failure, never too long, and not as long as others', async () => {
    await follow([refused(502, {})]);
    await vi.waitFor(
      () => {
        expect(updates.length).toBeGreaterThan(8);
      },
      { timeout: 30_000 }
    );
    const waits = updates.map((update) => (update.kind === 'reconnecting' ? update.afterMs : 0));
    [20, 40, 80, 160, 200, 200, 200].forEach((longest, index) => {
      expect(waits[index]).toBeLessThanOrEqual(longest);
      expect(waits[index]).toBeGreaterThanOrEqual(longest / 2);
    });
    expect(new Set(waits.slice(4)).size).toBeGreaterThan(1);
  });
});
