import { useAllVariableValues, useDatasourceStore } from '@perses-dev/plugin-system';
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import type { AlertThresholds, TieredPrometheusAlertThresholdQuerySpec } from '../../model/alert-thresholds';
import { findThresholds } from './get-time-series-data';

/** What the fields of the editor are completed from. */
export interface Rules {
  /** Names of alerting rules. */
  alerts: string[];
  /** Matchers of the labels of rules. */
  matchers: string[];
  /** Metrics that the expressions of rules read. */
  metrics: string[];
}

/** The alerting rules of a datasource; none while they are not known. Completion is a help: an error is not shown. */
export function useRules(datasource: TieredPrometheusAlertThresholdQuerySpec['datasource']): Rules {
  const datasourceStore = useDatasourceStore();
  const variableState = useAllVariableValues();
  const { data } = useQuery({
    queryKey: ['TieredPrometheusAlertRules', datasource],
    queryFn: ({ signal }) => findThresholds({ datasource }, { datasourceStore, variableState }, signal),
    retry: false,
    refetchOnWindowFocus: false,
    staleTime: 30_000,
  });
  return useMemo(() => rulesOf(data), [data]);
}

function rulesOf({ thresholds, skipped }: AlertThresholds = { thresholds: [], skipped: [] }): Rules {
  const labels = thresholds.flatMap((each) => Object.entries(each.labels ?? {}));
  return {
    alerts: sorted([...thresholds, ...skipped].map(({ alert }) => alert)),
    matchers: sorted(labels.map(([name, value]) => `${name}=${JSON.stringify(value)}`)),
    metrics: sorted(thresholds.flatMap(({ metrics = [] }) => metrics)),
  };
}

function sorted(texts: string[]): string[] {
  return [...new Set(texts)].sort((one, other) => one.localeCompare(other));
}
