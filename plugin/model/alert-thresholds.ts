import type { DurationString } from '@perses-dev/core';
import type { DatasourceSelectValue, VariableStateMap } from '@perses-dev/plugin-system';
import { replaceInParameters } from './interpolation';
import { replaceInPromQL } from './promql';
import type { TieredPrometheusDatasourceSelector } from './spec';

/** Spec of a TieredPrometheusAlertThresholdQuery. Rules have to fulfil everything that is set. */
export interface TieredPrometheusAlertThresholdQuerySpec {
  /** Datasource or the variable that names it. Left out: the default one of this kind. */
  datasource?: DatasourceSelectValue<TieredPrometheusDatasourceSelector>;
  /** Names of alerting rules, with Perses variables. Left out: rules of any name. */
  alerts?: string[];
  /** Label matchers such as 'severity="critical"', all of which the labels of a rule match. Left out: any labels. */
  matchers?: string[];
  /** Metric that the expression of a rule reads. Left out: any metric. */
  metric?: string;
  /** Smallest step, such as "30s". Left out: the scrapeInterval of the datasource. */
  minStep?: DurationString;
}

/** One comparison in the expression of an alerting rule. */
export interface AlertThreshold {
  alert: string;
  group: string;
  /** The comparison in short, such as "HighErrors > 0.5". */
  title: string;
  /** Expression of the rule. */
  query: string;
  /** The side of the threshold, as PromQL for a range query. */
  right: string;
  /** Metrics that the expression reads. */
  metrics?: string[];
  /** How long the comparison has to hold until the alert fires, in seconds. */
  for?: number;
  labels?: Record<string, string>;
  /** State of the rule, such as firing. */
  state?: string;
  /** Tiers that have the rule, such as "hot,cold". */
  tier?: string;
}

/** An alerting rule of whose expression at least a part is no threshold. */
export interface SkippedRule {
  alert: string;
  group: string;
  query: string;
  reason: string;
}

/** Answer of the gateway to a request for thresholds. */
export interface AlertThresholds {
  thresholds: AlertThreshold[];
  skipped: SkippedRule[];
}

/** Parameters of a request for thresholds; of several values of one, a rule fulfils at least one. */
export interface AlertThresholdsRequestParameters {
  alert?: readonly string[];
  'match[]'?: readonly string[];
  metric?: readonly string[];
}

/**
 * Returns the parameters of the request for the thresholds of a query, its variables replaced. A variable with several
 * values stands for one alert or metric each. Undefined where a variable has no value, so that no rule is chosen.
 *
 * It throws where a variable has several values and a matcher takes one.
 */
export function thresholdParameters(
  { alerts, matchers, metric }: Pick<TieredPrometheusAlertThresholdQuerySpec, 'alerts' | 'matchers' | 'metric'>,
  variables: VariableStateMap
): AlertThresholdsRequestParameters | undefined {
  const valuesOf = (texts: string[]): string[] =>
    withoutBlanks(texts.flatMap((text) => Object.values(replaceInParameters({ text }, variables)).flat()));
  const names = withoutBlanks(alerts);
  const metrics = withoutBlanks(metric === undefined ? [] : [metric]);
  const [alert, metricNames] = [valuesOf(names), valuesOf(metrics)];
  if ((names.length > 0 && alert.length === 0) || (metrics.length > 0 && metricNames.length === 0)) {
    return undefined;
  }
  // All matchers of one selector have to match.
  const selector = replaceInPromQL(`{${withoutBlanks(matchers).join(',')}}`, variables);
  return {
    ...(alert.length > 0 && { alert }),
    ...(selector !== '{}' && { 'match[]': [selector] }),
    ...(metricNames.length > 0 && { metric: metricNames }),
  };
}

/** Returns the texts that are not blank. */
export function withoutBlanks(texts: readonly string[] | undefined): string[] {
  return (texts ?? []).filter((text) => text.trim() !== '');
}

/** Says why a rule, or a part of one that has thresholds too, has no threshold. */
export function skippedText({ alert, group, reason }: SkippedRule, thresholds: readonly AlertThreshold[]): string {
  const hasOthers = thresholds.some((each) => each.alert === alert && each.group === group);
  return `${hasOthers ? `a part of ${alert}` : alert} has no threshold: ${reason}`;
}

const units = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
  ['s', 1],
] as const;

/** Writes a duration in seconds as Prometheus does, such as "1h30m". */
export function formatSeconds(seconds: number): string {
  let rest = Math.round(seconds);
  let text = '';
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    text += count > 0 ? `${String(count)}${unit}` : '';
  }
  return text === '' ? '0s' : text;
}
