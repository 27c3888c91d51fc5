import type { Labels, TimeSeries, TimeSeriesHistogramTuple, TimeSeriesValueTuple } from '@perses-dev/core';
import { parseValueTuple } from '@perses-dev/prometheus-plugin/lib/model/parse-sample-values';

/** A series of an event of the live endpoint, as query_range writes it. */
export interface LiveSample {
  metric: Labels;
  values?: [number, string][];
  histograms?: TimeSeriesHistogramTuple[];
}

/** Says what a series is called. */
export type NameOf = (metric: Labels) => Pick<TimeSeries, 'name' | 'formattedName'>;

/** A series whose points this module changes; for everybody else it is a TimeSeries. */
interface Series extends TimeSeries {
  values: TimeSeriesValueTuple[];
  histograms?: TimeSeriesHistogramTuple[];
}

/**
 * The series of a live query. Events change them in place: an append costs what it has itself and a look at both ends of
 * each series, however many points they have. A series keeps its place in the list for as long as it has points, also
 * when a snapshot replaces everything: charts know series by their places.
 */
export class LiveSeries {
  private list = new Map<string, Series>();

  /** @param nameOf says what a series is called when it is first seen */
  constructor(private readonly nameOf: NameOf) {}

  /** The series in a new list. They are the same objects as before, with other points. */
  get series(): TimeSeries[] {
    return [...this.list.values()];
  }

  /** Puts samples in place of all points from one step to another, both included, in seconds since the epoch. */
  replace(samples: readonly LiveSample[], start: number, end: number): void {
    for (const series of this.list.values()) {
      cut(series, start, end);
    }
    for (const sample of samples) {
      this.add(sample);
    }
  }

  /** Forgets the points behind a step, in seconds: after a reconnect, the server sends them anew. */
  keepUpTo(step: number): void {
    for (const series of this.list.values()) {
      cut(series, step + 0.001, Infinity);
    }
  }

  /** Forgets the points before a step, in seconds, and the series that have none left. */
  keepFrom(step: number): void {
    for (const [key, series] of this.list) {
      dropHead(series.values, step * 1000);
      if (series.histograms !== undefined) {
        dropHead(series.histograms, step);
      }
      if (series.values.length === 0) {
        this.list.delete(key);
      }
    }
  }

  private add({ metric, values = [], histograms = [] }: LiveSample): void {
    const key = keyOf(metric);
    let series = this.list.get(key);
    if (series === undefined) {
      series = { ...this.nameOf(metric), labels: metric, values: [] };
      this.list.set(key, series);
    }
    insert(series.values, values.map(parseValueTuple));
    if (histograms.length > 0) {
      // As the Prometheus plugin does: the value of a native histogram is its sum.
      insert(
        series.values,
        histograms.map(([at, { sum }]) => parseValueTuple([at, sum]))
      );
      series.histograms ??= [];
      insert(series.histograms, histograms);
    }
  }
}

function keyOf(metric: Labels): string {
  return JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A point of a series: a time and what there is then. */
type Point = readonly [number, unknown];

/** Index of the first point at or after a time. Looks from the end, where events change things. */
function indexOf(points: readonly Point[], time: number): number {
  let index = points.length;
  while (index > 0 && (points[index - 1]?.[0] ?? -Infinity) >= time) {
    index--;
  }
  return index;
}

/** Removes the points from one time to another, both included, in seconds. */
function cut({ values, histograms }: Series, from: number, to: number): void {
  cutPoints(values, from * 1000, to * 1000);
  if (histograms !== undefined) {
    cutPoints(histograms, from, to);
  }
}

function cutPoints(points: Point[], from: number, to: number): void {
  const index = indexOf(points, from);
  let end = points.length;
  while (end > index && (points[end - 1]?.[0] ?? Infinity) > to) {
    end--;
  }
  points.splice(index, end - index);
}

/** Puts points where their times belong. They are in order, and nothing is there within their times. */
function insert<Each extends Point>(points: Each[], added: readonly Each[]): void {
  if (added.length === 0) {
    return;
  }
  const index = indexOf(points, added[0]?.[0] ?? Infinity);
  if (index === points.length) {
    for (const each of added) {
      points.push(each);
    }
    return;
  }
  // Floats and histograms of one series take turns, or an append is older than what is there: rare.
  const tail = points.splice(index);
  for (const each of [...added, ...tail].sort(([a], [b]) => a - b)) {
    points.push(each);
  }
}

function dropHead(points: Point[], before: number): void {
  let count = 0;
  while (count < points.length && (points[count]?.[0] ?? Infinity) < before) {
    count++;
  }
  if (count > FEW) {
    points.splice(0, count);
    return;
  }
  // V8 moves the start of an array for shift, and all of its items for splice.
  while (count-- > 0) {
    points.shift();
  }
}

/** Up to how many points are dropped one by one. */
const FEW = 8;
