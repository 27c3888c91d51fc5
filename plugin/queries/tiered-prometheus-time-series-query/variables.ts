import { isVariableDatasource, parseVariables } from '@perses-dev/plugin-system';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';

/** Names of the dashboard variables that a query has in its texts, or as its datasource. */
export function variablesOf({
  query,
  seriesNameFormat,
  minStep,
  datasource,
}: TieredPrometheusTimeSeriesQuerySpec): string[] {
  const texts = [query, seriesNameFormat, minStep, isVariableDatasource(datasource) ? datasource : undefined];
  return [...new Set(texts.flatMap((text) => parseVariables(text ?? '')))];
}
