import type { TimeSeriesQueryPlugin } from '@perses-dev/plugin-system';
import { inPersesTheme } from '../../components/in-perses-theme';
import type { TieredPrometheusAlertThresholdQuerySpec } from '../../model/alert-thresholds';
import { variableNames } from '../../model/dashboard-datasource';
import { getTimeSeriesData } from './get-time-series-data';
import { TieredPrometheusAlertThresholdQueryEditor } from './TieredPrometheusAlertThresholdQueryEditor';

/** The query plugin: the thresholds of alerting rules that a TieredPrometheusDatasource has. */
export const TieredPrometheusAlertThresholdQuery: TimeSeriesQueryPlugin<TieredPrometheusAlertThresholdQuerySpec> = {
  getTimeSeriesData,
  OptionsEditorComponent: inPersesTheme(TieredPrometheusAlertThresholdQueryEditor),
  createInitialOptions: () => ({}),
  dependsOn: (spec, { variableState }) => ({ variables: variablesOf(spec, variableState) }),
};

/** Names of the dashboard variables that a query has in its texts, or in its datasource. */
function variablesOf(
  { alerts = [], matchers = [], metric, minStep, datasource }: TieredPrometheusAlertThresholdQuerySpec,
  variables: Parameters<typeof variableNames>[2]
): string[] {
  return variableNames(datasource, [...alerts, ...matchers, metric, minStep], variables);
}
