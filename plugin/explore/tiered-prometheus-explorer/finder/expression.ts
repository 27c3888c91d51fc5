import type { LabelFilter } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/types';

/** Returns the filters that say something: those with a label and a value. */
export function complete(filters: LabelFilter[]): LabelFilter[] {
  return filters.filter(({ label, labelValues }) => label !== '' && (labelValues[0] ?? '') !== '');
}

/** Writes a series selector. Several values of a filter are the alternatives of its regular expression. */
export function selectorOf(metric: string, filters: LabelFilter[]): string {
  const matchers = filters.map(
    ({ label, operator, labelValues }) => `${labelOf(label)}${operator}${quoted(labelValues.join('|'))}`
  );
  if (!/^[A-Za-z_:][A-Za-z0-9_:]*$/.test(metric)) {
    return `{${[quoted(metric), ...matchers].join(', ')}}`;
  }
  return matchers.length === 0 ? metric : `${metric}{${matchers.join(', ')}}`;
}

/**
 * Writes the query by which a metric is looked at: the rate of what only grows, a quantile of a native histogram, and
 * the metric itself where neither is known. Where no type is known, names tell, as the conventions of Prometheus have it.
 *
 * @param type type of the metric as its metadata says, such as counter
 */
export function expressionOf(metric: string, type: string | undefined, filters: LabelFilter[]): string {
  const selector = selectorOf(metric, filters);
  const isUnknown = type === undefined || type === 'unknown';
  const isOfParts = type === 'histogram' || type === 'summary';
  const onlyGrows =
    type === 'counter' ||
    (isUnknown && metric.endsWith('_total')) ||
    ((isUnknown || isOfParts) && /_(bucket|count|sum)$/.test(metric));
  if (onlyGrows) {
    return `rate(${selector}[$__rate_interval])`;
  }
  return type === 'histogram' ? `histogram_quantile(0.9, sum(rate(${selector}[$__rate_interval])))` : selector;
}

function labelOf(label: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(label) ? label : quoted(label);
}

function quoted(text: string): string {
  const escaped = text.replace(/["\\]/g, '\\$&').replace(/\n/g, '\\n');
  return `"${escaped}"`;
}
