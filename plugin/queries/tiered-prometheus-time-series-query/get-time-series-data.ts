import { getTimeSeriesData as getPrometheusData } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/get-time-series-data';
import type { PrometheusTimeSeriesQuerySpec } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/time-series-query-model';
import type { DatasourceStore, TimeSeriesQueryPlugin } from '@perses-dev/plugin-system';
import type { TieredPrometheusClient } from '../../model/client';
import { withTierChoice } from '../../model/client';
import type { TierChoice, TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../../model/spec';

/**
 * Runs a query. Steps, variables and series are those of the Prometheus plugin, whose function runs here against our
 * datasource: so that a panel that changes kinds draws the same.
 */
export const getTimeSeriesData: TimeSeriesQueryPlugin<TieredPrometheusTimeSeriesQuerySpec>['getTimeSeriesData'] = (
  { tier, datasource = DEFAULT_DATASOURCE, ...spec },
  context,
  ...rest
) =>
  getPrometheusData(
    // That function knows its own kind only; it merely passes the selector on.
    { ...spec, datasource } as unknown as PrometheusTimeSeriesQuerySpec,
    { ...context, datasourceStore: storeOfOurKind(context.datasourceStore, tier) },
    ...rest
  );

/** Lists our kind whatever kind is asked for, and gives clients that ask for the chosen tier. */
function storeOfOurKind(store: DatasourceStore, tier?: TierChoice): DatasourceStore {
  return {
    ...store,
    listDatasourceSelectItems: () => store.listDatasourceSelectItems(DATASOURCE_KIND),
    getDatasourceClient: async <Client>(selector: Parameters<DatasourceStore['getDatasourceClient']>[0]) =>
      withTierChoice(await store.getDatasourceClient<TieredPrometheusClient>(selector), tier) as Client,
  };
}
