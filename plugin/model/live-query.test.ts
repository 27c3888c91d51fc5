import { describe, expect, it } from 'vitest';
import type { LiveBody, LiveUpdate } from './live';
import { LiveQuery } from './live-query';
import type { LiveSample } from './live-series';

/** The time of the tests, in seconds. */
let now = 1000;

function query(): LiveQuery {
  return new LiveQuery({
    query: 'up',
    range: 65,
    nameOf: ({ name = '' }) => ({ name, formattedName: name }),
    now: () => now * 1000,
  });
}

function body(start: number, end: number, result: LiveSample[] = [], more: Partial<LiveBody> = {}): LiveBody {
  return { data: { result }, live: { start, end, step: 15, tier: 'hot', reason: 'below-threshold' }, ...more };
}

/** A series that has the same value at some steps. */
function up(value: string, ...steps: number[]): LiveSample {
  return { metric: { name: 'up' }, values: steps.map((at) => [at, value]) };
}

function after(live: LiveQuery, ...updates: LiveUpdate[]) {
  updates.forEach((update) => live.apply(update));
  return live.state;
}

const open: LiveUpdate = { kind: 'open', clockAheadMs: 0 };
const snapshot: LiveUpdate = { kind: 'snapshot', body: body(15, 60, [up('1', 15, 30, 45, 60)], { warnings: ['old'] }) };

/** The steps that are shown, in seconds, and their values. */
function points({ state: { data } }: LiveQuery): [number, number][] {
  return (data?.series ?? []).flatMap(({ values }) =>
    values.map(([at, value]): [number, number] => [at / 1000, value ?? NaN])
  );
}

describe('a live query', () => {
  it('has a window that ends with the newest step, and begins with a step', () => {
    const live = query();
    const state = after(live, open, snapshot, { kind: 'append', body: body(75, 90, [up('2', 75, 90)]) });
    expect(state.data).toMatchObject({
      timeRange: { start: new Date(30_000), end: new Date(90_000) },
      stepMs: 15_000,
      metadata: { executedQueryString: 'up', answer: { tier: 'hot', reason: 'below-threshold' } },
    });
    expect(points(live)).toEqual([
      [30, 1],
      [45, 1],
      [60, 1],
      [75, 2],
      [90, 2],
    ]);
  });

  it('has new data with each event, which a chart can tell from those before', () => {
    const live = query();
    const before = after(live, open, snapshot).data;
    const { data } = after(live, { kind: 'append', body: body(75, 75) });
    expect(data).not.toBe(before);
    expect(data?.series[0]?.values).toBe(before?.series[0]?.values);
    expect(after(live, { kind: 'failed', message: 'no tier' }).data).toBe(data);
  });

  it('is the same after an append that comes twice', () => {
    const live = query();
    const append: LiveUpdate = { kind: 'append', body: body(60, 75, [up('3', 60, 75)]) };
    after(live, open, snapshot, append);
    const once = points(live);
    after(live, append);
    expect(points(live)).toEqual(once);
  });

  it('keeps its window where only older steps come again', () => {
    const live = query();
    const state = after(live, open, snapshot, { kind: 'append', body: body(30, 45, [up('7', 30, 45)]) });
    expect(state.data?.timeRange?.end).toEqual(new Date(60_000));
    expect(points(live)).toEqual([
      [15, 1],
      [30, 7],
      [45, 7],
      [60, 1],
    ]);
  });

  it('forgets after a reconnect what is sent anew, also where there is less of it', () => {
    const live = query();
    const state = after(live, open, snapshot, open, {
      kind: 'append',
      keepUpTo: 30,
      body: body(45, 45, [up('9', 45)]),
    });
    expect(points(live)).toEqual([
      [15, 1],
      [30, 1],
      [45, 9],
    ]);
    expect(state.data?.timeRange?.end).toEqual(new Date(45_000));
  });

  it('says for how long a warning is of what is shown', () => {
    const live = query();
    const warnings = (): string[] | undefined => live.state.data?.metadata?.answer?.warnings;
    after(live, open, snapshot, { kind: 'append', body: body(75, 75, [], { warnings: ['new', 'new'] }) });
    expect(warnings()).toEqual(['old', 'new']);
    after(live, { kind: 'append', body: body(120, 120) });
    expect(warnings()).toEqual(['old', 'new']);
    after(live, { kind: 'append', body: body(135, 135) });
    expect(warnings()).toEqual(['new']);
    const many = Array.from({ length: 100 }, (_, index) => `warning ${String(index)}`);
    after(live, { kind: 'append', body: body(150, 150, [], { warnings: many }) });
    expect(warnings()).toEqual(many.slice(80));
    after(live, { kind: 'snapshot', body: body(105, 165) });
    expect(warnings()).toEqual([]);
  });

  it('says how its connection is, and keeps its data whatever happens to that', () => {
    const live = query();
    expect(live.state).toEqual({ connection: 'connecting' });
    const { data } = after(live, open, snapshot);
    expect(after(live, { kind: 'failed', message: 'no tier' })).toMatchObject({
      connection: 'live',
      error: 'no tier',
      data,
    });
    const lost: LiveUpdate = { kind: 'reconnecting', message: 'reset', afterMs: 1 };
    expect(after(live, lost)).toMatchObject({ connection: 'reconnecting', error: 'reset', data });
    expect(after(live, open)).toMatchObject({ connection: 'live', error: undefined, data });
    expect(after(live, { kind: 'append', body: body(75, 75) })).toMatchObject({ connection: 'live', error: undefined });
    const end: LiveUpdate = { kind: 'stopped', message: 'not allowed' };
    expect(after(live, end)).toMatchObject({ connection: 'stopped', error: 'not allowed' });
    expect(points(live)).toHaveLength(4);
  });

  it('says when its data came, and how long after their step, by the clock of the server', () => {
    const live = query();
    now = 200;
    expect(after(live, open, snapshot)).toMatchObject({ updatedAtMs: 200_000, lagMs: undefined });
    now = 75.5;
    expect(after(live, { kind: 'append', body: body(75, 75) })).toMatchObject({ updatedAtMs: 75_500, lagMs: 500 });
    now = 90;
    expect(after(live, { kind: 'append', body: body(60, 75) })).toMatchObject({ updatedAtMs: 90_000, lagMs: 500 });
    now = 80;
    expect(after(live, { kind: 'append', body: body(90, 90) }).lagMs).toBeUndefined();
    after(live, { kind: 'open', clockAheadMs: 20_000 });
    now = 86;
    expect(after(live, { kind: 'append', body: body(105, 105) }).lagMs).toBe(1000);
  });
});
