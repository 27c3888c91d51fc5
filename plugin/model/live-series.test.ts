import type { Labels, TimeSeriesHistogramTuple } from '@perses-dev/core';
import { describe, expect, it } from 'vitest';
import type { LiveSample } from './live-series';
import { LiveSeries } from './live-series';

const nameOf = ({ name = '' }: Labels) => ({ name, formattedName: `the ${name}` });

function sample(name: string, ...values: [number, string][]): LiveSample {
  return { metric: { name }, values };
}

function histogram(at: number, sum: string): TimeSeriesHistogramTuple {
  return [at, { count: 1, sum }];
}

/** Names and values of series, in their order. */
function shown({ series }: LiveSeries): Record<string, [number, number][]> {
  return Object.fromEntries(series.map(({ name, values }) => [name, [...values] as [number, number][]]));
}

/** Numbers that look random, the same for each seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** What the series should have: a value for each name and step. Slow and simple. */
class Model {
  points = new Map<string, Map<number, number>>();

  replace(samples: LiveSample[], start: number, end: number): void {
    this.keep((at) => at < start || at > end);
    for (const { metric, values = [] } of samples) {
      const points = this.points.get(metric.name) ?? new Map<number, number>();
      this.points.set(metric.name, points);
      for (const [at, value] of values) {
        points.set(at, Number(value));
      }
    }
  }

  keep(isKept: (at: number) => boolean): void {
    for (const points of this.points.values()) {
      for (const at of [...points.keys()].filter((each) => !isKept(each))) {
        points.delete(at);
      }
    }
  }

  shown(): Record<string, [number, number][]> {
    const entries = [...this.points].map(([name, points]): [string, [number, number][]] => [
      name,
      [...points].sort(([a], [b]) => a - b).map(([at, value]) => [at * 1000, value]),
    ]);
    return Object.fromEntries(entries.filter(([, values]) => values.length > 0));
  }
}

/** Samples of some series at some of the steps from one to another. */
function randomSamples(random: (below: number) => number, start: number, end: number, step: number): LiveSample[] {
  const steps = Array.from({ length: (end - start) / step + 1 }, (_, index) => start + index * step);
  return ['a', 'b', 'c', 'd', 'e']
    .filter(() => random(4) > 0)
    .map((name) =>
      sample(name, ...steps.filter(() => random(5) > 0).map((at): [number, string] => [at, String(random(100))]))
    )
    .filter(({ values }) => values?.length !== 0);
}

describe('live series', () => {
  it.each(Array.from({ length: 50 }, (_, index) => index + 1))(
    'equal a simple model after random events: seed %i',
    (seed) => {
      const random = randomOf(seed);
      const live = new LiveSeries(nameOf);
      const model = new Model();
      const [step, range] = [15, 300];
      let end = 3000;
      for (let event = 0; event < 200; event++) {
        const kind = random(20);
        if (kind === 0) {
          const samples = randomSamples(random, end - range, end, step);
          live.replace(samples, -Infinity, Infinity);
          model.replace(samples, -Infinity, Infinity);
        } else if (kind === 1) {
          const last = end - random(10) * step;
          live.keepUpTo(last);
          model.keep((at) => at <= last);
        } else {
          // Some appends have late steps only, or several new ones.
          end += (random(4) - (random(3) === 0 ? 3 : 0)) * step;
          const start = end - random(8) * step;
          const samples = randomSamples(random, start, end, step);
          live.replace(samples, start, end);
          model.replace(samples, start, end);
        }
        live.keepFrom(end - range);
        model.keep((at) => at >= end - range);
        expect(shown(live)).toEqual(model.shown());
      }
    }
  );

  it('keep their places, and their objects, while they have points', () => {
    const live = new LiveSeries(nameOf);
    live.replace([sample('a', [1, '1']), sample('b', [1, '1']), sample('c', [1, '1'])], -Infinity, Infinity);
    const [before] = live.series;
    live.replace([sample('d', [2, '1']), sample('c', [2, '2']), sample('a', [2, '2'])], -Infinity, Infinity);
    live.keepFrom(0);
    expect(live.series.map(({ name }) => name)).toEqual(['a', 'c', 'd']);
    expect(live.series[0]).toBe(before);
    expect(before).toEqual({ name: 'a', formattedName: 'the a', labels: { name: 'a' }, values: [[2000, 2]] });
  });

  it('are the same whatever the order of their labels', () => {
    const live = new LiveSeries(nameOf);
    live.replace([{ metric: { name: 'a', job: 'x' }, values: [[1, '1']] }], 1, 1);
    live.replace([{ metric: { job: 'x', name: 'a' }, values: [[2, '2']] }], 2, 2);
    expect(shown(live)).toEqual({
      a: [
        [1000, 1],
        [2000, 2],
      ],
    });
  });

  it('have the values that Prometheus writes', () => {
    const live = new LiveSeries(nameOf);
    live.replace([sample('a', [1, 'NaN'], [2, '+Inf'], [3, '-Inf'], [4, '1e-7'])], 1, 4);
    expect(shown(live).a.map(([, value]) => value)).toEqual([NaN, Infinity, -Infinity, 1e-7]);
  });

  it('have native histograms as a query has them: the sums as values, and all buckets', () => {
    const live = new LiveSeries(nameOf);
    const metric = { name: 'h' };
    live.replace([{ metric, histograms: [histogram(15, '1'), histogram(30, '2')] }], 15, 30);
    live.replace([{ metric, histograms: [histogram(30, '3'), histogram(45, '4')] }], 30, 45);
    live.keepFrom(30);
    expect(live.series).toMatchObject([
      {
        values: [
          [30_000, 3],
          [45_000, 4],
        ],
        histograms: [histogram(30, '3'), histogram(45, '4')],
      },
    ]);
    // Floats in between, of a series that changes its kind.
    live.replace([{ metric, values: [[45, '9']], histograms: [histogram(30, '5')] }], 30, 45);
    expect(live.series).toMatchObject([
      {
        values: [
          [30_000, 5],
          [45_000, 9],
        ],
        histograms: [histogram(30, '5')],
      },
    ]);
  });

  it('take an append with as many looks at points as there are new and old ones, however many there are in between', () => {
    const looksOf = (points: number): number => {
      const live = new LiveSeries(nameOf);
      const names = Array.from({ length: 20 }, (_, index) => `s${String(index)}`);
      const values = Array.from({ length: points }, (_, at): [number, string] => [at, '1']);
      live.replace(
        names.map((name) => sample(name, ...values)),
        -Infinity,
        Infinity
      );
      const looks = { count: 0 };
      for (const series of live.series) {
        series.values = counted(series.values, looks);
      }
      for (let at = points; at < points + 200; at++) {
        live.replace(
          names.map((name) => sample(name, [at, '1'])),
          at,
          at
        );
        live.keepFrom(at - points + 1);
      }
      expect(live.series.map((series) => series.values.length)).toEqual(names.map(() => points));
      return looks.count;
    };
    const few = looksOf(100);
    expect(few).toBeGreaterThan(200 * 20);
    // Nearly as many as a query may have.
    expect(looksOf(10_000)).toBe(few);
  });
});

/** An array that counts the looks at its items. Its methods count as one: the engine does them at once. */
function counted<Item>(items: Item[], looks: { count: number }): Item[] {
  return new Proxy(items, {
    get: (target, key) => {
      const found: unknown = Reflect.get(target, key);
      looks.count += key === 'length' ? 0 : 1;
      return typeof found === 'function' ? (found.bind(target) as unknown) : found;
    },
  });
}
