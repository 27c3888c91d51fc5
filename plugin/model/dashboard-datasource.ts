import type { DatasourceSelectValue, DatasourceStore, VariableStateMap } from '@perses-dev/plugin-system';
import { datasourceSelectValueToSelector, isVariableDatasource, parseVariables } from '@perses-dev/plugin-system';
import type { TieredPrometheusClient } from './client';
import { withAdded } from './client';
import { replaceInHeaders, replaceInParameters, replaceInText } from './interpolation';
import type { TieredPrometheusDatasourceSelector, TieredPrometheusDatasourceSpec } from './spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from './spec';

/** Selects a datasource, or names the variable that does. */
type SelectValue = DatasourceSelectValue<TieredPrometheusDatasourceSelector>;

/** Variables in the query parameters and headers of the datasources asked so far, by the name that was selected. */
const datasourceVariables = new Map<string | undefined, string[]>();

/**
 * Returns the names of the variables in texts, in the datasource, and in its query parameters and headers. Perses wants the
 * names at once, before the datasource can be read: its query parameters and headers are known after its first request.
 */
export function variableNames(
  datasource: SelectValue = DEFAULT_DATASOURCE,
  texts: readonly (string | undefined)[],
  variables: VariableStateMap | undefined
): string[] {
  const all = isVariableDatasource(datasource) ? [...texts, datasource] : texts;
  const name = isVariableDatasource(datasource) ? replaceInText(datasource, variables ?? {}) : datasource.name;
  return [...new Set([...all.flatMap((text) => parseVariables(text ?? '')), ...(datasourceVariables.get(name) ?? [])])];
}

/** A datasource of a dashboard, and the store by which the functions of the Prometheus plugin reach it. */
interface DashboardDatasource {
  selector: TieredPrometheusDatasourceSelector;
  store: DatasourceStore;
}

/**
 * Finds the datasource that a query or a variable asks. A variable is resolved among the datasources of our kind, and the
 * variables in the query parameters and headers have their values. Nothing is left for the functions of the Prometheus plugin to
 * look up, which know their own kind only.
 *
 * @param replace returns the client that is used in place of the one of the datasource
 */
export async function dashboardDatasource(
  store: DatasourceStore,
  value: SelectValue = DEFAULT_DATASOURCE,
  variables: VariableStateMap,
  replace: (client: TieredPrometheusClient) => TieredPrometheusClient
): Promise<DashboardDatasource> {
  const selector = isVariableDatasource(value)
    ? ((datasourceSelectValueToSelector(value, variables, await store.listDatasourceSelectItems(DATASOURCE_KIND)) as
        | TieredPrometheusDatasourceSelector
        | undefined) ?? DEFAULT_DATASOURCE)
    : value;
  const { plugin } = await store.getDatasource(selector);
  const { queryParams = {}, proxy } = plugin.spec as Partial<TieredPrometheusDatasourceSpec>;
  const headers = proxy?.spec.headers ?? {};
  datasourceVariables.set(
    selector.name,
    [...Object.values(queryParams), ...Object.values(headers)].flatMap((text) => parseVariables(text))
  );
  const added = {
    parameters: replaceInParameters(queryParams, variables),
    headers: replaceInHeaders(headers, variables),
  };
  return {
    selector,
    store: {
      ...store,
      listDatasourceSelectItems: () => Promise.resolve([]),
      getDatasourceClient: async <Client>() =>
        replace(withAdded(await store.getDatasourceClient<TieredPrometheusClient>(selector), added)) as Client,
    },
  };
}
