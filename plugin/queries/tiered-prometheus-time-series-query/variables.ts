import type { VariableStateMap } from '@perses-dev/plugin-system';
import { variableNames } from '../../model/dashboard-datasource';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';

/** Names of the dashboard variables that a query has in its texts, or in its datasource. */
export function variablesOf(
  { query, seriesNameFormat, minStep, datasource }: TieredPrometheusTimeSeriesQuerySpec,
  variables: VariableStateMap | undefined
): string[] {
  return variableNames(datasource, [query, seriesNameFormat, minStep], variables);
}
