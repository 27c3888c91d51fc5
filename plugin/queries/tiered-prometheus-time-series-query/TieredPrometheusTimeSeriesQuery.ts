import type { TimeSeriesQueryPlugin } from '@perses-dev/plugin-system';
import { isVariableDatasource, parseVariables } from '@perses-dev/plugin-system';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { getTimeSeriesData } from './get-time-series-data';

/** The query plugin: PromQL to a TieredPrometheusDatasource. */
export const TieredPrometheusTimeSeriesQuery: TimeSeriesQueryPlugin<TieredPrometheusTimeSeriesQuerySpec> = {
  getTimeSeriesData,
  createInitialOptions: () => ({ query: '' }),
  dependsOn: ({ query, seriesNameFormat, minStep, datasource }) => {
    const texts = [query, seriesNameFormat, minStep, isVariableDatasource(datasource) ? datasource : undefined];
    return { variables: [...new Set(texts.flatMap((text) => parseVariables(text ?? '')))] };
  },
};
