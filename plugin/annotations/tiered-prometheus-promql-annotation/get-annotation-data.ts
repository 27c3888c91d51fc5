import { formatSeriesName } from '@perses-dev/prometheus-plugin/lib/utils/utils';
import { replaceInText } from '../../model/interpolation';
import type { TieredPrometheusPromQLAnnotationSpec } from '../../model/annotation-spec';
import { getTimeSeriesData } from '../../queries/tiered-prometheus-time-series-query/get-time-series-data';
import type { AnnotationContext, AnnotationData } from '../perses-054';

/**
 * Returns the marks of an annotation, as the Prometheus plugin does: its expression is a range query over the time range of
 * the dashboard, with the step of a query that names none; and each series is marked from its first sample to its last
 * one. With splitAtGaps, it is marked anew after each gap. No warning of an answer is told: Perses has no place for one.
 */
export async function getAnnotationData(
  spec: TieredPrometheusPromQLAnnotationSpec,
  { datasourceStore, absoluteTimeRange, variableState }: AnnotationContext,
  abortSignal?: AbortSignal
): Promise<AnnotationData[]> {
  const { series, stepMs } = await getTimeSeriesData(
    { query: spec.expr, datasource: spec.datasource },
    { datasourceStore, timeRange: absoluteTimeRange, variableState, mode: 'range', refreshKey: '' },
    abortSignal
  );
  const gapMs = spec.splitAtGaps === true ? stepMs : undefined;
  return series.flatMap(({ labels = {}, values }) => {
    const text = (format: string | undefined): string | undefined =>
      format === undefined || format === ''
        ? undefined
        : formatSeriesName(replaceInText(format, variableState), labels);
    const told = { title: text(spec.title), legend: text(spec.legend), tags: tagsOf(labels, spec.tags) };
    const times = values.map(([time]) => time);
    return spansOf(times, gapMs).map((span) => ({ ...span, ...told }));
  });
}

/** The labels of these names that there are, in the order of the names; all of them where no name is given. */
function tagsOf(labels: Record<string, string>, names: readonly string[] = []): Record<string, string> {
  return names.length === 0
    ? labels
    : Object.fromEntries(names.filter((name) => Object.hasOwn(labels, name)).map((name) => [name, labels[name] ?? '']));
}

/** The spans of times between which no gap is longer than gapMs; all in one where it is left out. */
function spansOf(times: readonly number[], gapMs = Infinity): { start: number; end: number }[] {
  const spans: { start: number; end: number }[] = [];
  for (const time of times) {
    const last = spans.at(-1);
    if (last !== undefined && time - last.end <= gapMs) {
      last.end = time;
    } else {
      spans.push({ start: time, end: time });
    }
  }
  return spans;
}
