import type { QueryDefinition } from '@perses-dev/core';
import type { LabelFilter } from '@perses-dev/prometheus-plugin/lib/explore/PrometheusMetricsFinder/types';
import type { TieredPrometheusDatasourceSelector, TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';

/** Kind of the queries that the explorer asks. */
export const QUERY_KIND = 'TieredPrometheusTimeSeriesQuery';

/** The tabs of the explorer: the newest values, all values in the time range, and the finder of metrics. */
export type ExplorerTab = 'table' | 'graph' | 'finder';

/** What the explorer shows. It stands in the URL of the page, in the fields of the Prometheus plugin's explorer. */
export interface ExplorerState {
  tab?: ExplorerTab;
  queries?: QueryDefinition[];
  /** Whether the table and the graph are fed by live streams. */
  live?: boolean;
  /** Datasource of the finder. */
  datasource?: TieredPrometheusDatasourceSelector;
  /** Filters of the finder. */
  filters?: LabelFilter[];
  /** Metric that the finder shows in detail. */
  exploredMetric?: string;
}

/** Returns a query of our kind to a datasource; to the default one if it has no name. */
export function queryOf(query: string, datasource?: TieredPrometheusDatasourceSelector): QueryDefinition {
  const spec: TieredPrometheusTimeSeriesQuerySpec = datasource?.name === undefined ? { query } : { query, datasource };
  return { kind: 'TimeSeriesQuery', spec: { plugin: { kind: QUERY_KIND, spec: { ...spec } } } };
}

/**
 * Makes a query of our kind of every one that was just added: the page adds one of its own default kind. It asks the
 * datasource that the query before it asks.
 */
export function withAddedOfOurKind(before: QueryDefinition[], after: QueryDefinition[]): QueryDefinition[] {
  return after.map((query, index) =>
    index >= before.length && query.spec.plugin.kind !== QUERY_KIND
      ? queryOf('', datasourceOf(after[index - 1]))
      : query
  );
}

function datasourceOf(query: QueryDefinition | undefined): TieredPrometheusDatasourceSelector | undefined {
  return (query?.spec.plugin.spec as Partial<TieredPrometheusTimeSeriesQuerySpec> | undefined)
    ?.datasource as TieredPrometheusDatasourceSelector;
}

/** Leaves out the queries without an expression: there is nothing to ask yet. */
export function askable(queries: QueryDefinition[]): QueryDefinition[] {
  return queries.filter(({ spec }) => (spec.plugin.spec as { query?: string }).query?.trim() !== '');
}
