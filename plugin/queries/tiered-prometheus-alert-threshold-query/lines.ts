import type { TimeSeries } from '@perses-dev/core';
import type { AlertThreshold } from '../../model/alert-thresholds';
import { formatSeconds } from '../../model/alert-thresholds';

/**
 * Returns the lines of a threshold, one for each series of its threshold side. A line is named by the comparison; of
 * several, each name ends with the labels of its series.
 */
export function linesOf(threshold: AlertThreshold, series: readonly TimeSeries[]): TimeSeries[] {
  return series.map((each) => {
    const labels = each.labels ?? {};
    const name = series.length > 1 ? `${threshold.title} ${selectorOf(labels)}` : threshold.title;
    return { ...each, name, formattedName: name, labels: { ...labels, ...labelsOf(threshold) } };
  });
}

/** The labels that a rule adds to a line. They win over those of the series, as in the alert itself. */
function labelsOf({ alert, labels, for: pendingFor, state }: AlertThreshold): Record<string, string> {
  return {
    ...labels,
    alertname: alert,
    ...(pendingFor !== undefined && { for: formatSeconds(pendingFor) }),
    ...(state !== undefined && { state }),
  };
}

/** Writes labels as a selector, without the name of the metric: {job="cart"}. */
function selectorOf(labels: Record<string, string>): string {
  const matchers = Object.entries(labels)
    .filter(([name]) => name !== '__name__')
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `{${matchers.join(', ')}}`;
}
