import type { TimeSeriesQueryPlugin } from '@perses-dev/plugin-system';
import { inPersesTheme } from '../../components/in-perses-theme';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { getTimeSeriesData } from './get-time-series-data';
import { TieredPrometheusTimeSeriesQueryEditor } from './TieredPrometheusTimeSeriesQueryEditor';
import { variablesOf } from './variables';

/** The query plugin: PromQL to a TieredPrometheusDatasource. */
export const TieredPrometheusTimeSeriesQuery: TimeSeriesQueryPlugin<TieredPrometheusTimeSeriesQuerySpec> = {
  getTimeSeriesData,
  OptionsEditorComponent: inPersesTheme(TieredPrometheusTimeSeriesQueryEditor),
  createInitialOptions: () => ({ query: '' }),
  dependsOn: (spec, { variableState }) => ({ variables: variablesOf(spec, variableState) }),
};
