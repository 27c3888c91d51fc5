import type { DatasourceStore, GetVariableOptionsContext, VariablePlugin } from '@perses-dev/plugin-system';
import { datasourceSelectValueToSelector, isVariableDatasource, parseVariables } from '@perses-dev/plugin-system';
import type { TieredPrometheusClient } from '../model/client';
import { withSignal } from '../model/client';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../model/spec';
import type { TieredPrometheusVariableSpec } from '../model/variable-specs';

/**
 * A plugin of the Prometheus plugin whose options ours have. Its type names its own kind of datasource, which it merely
 * passes on to the store.
 */
interface PrometheusVariable {
  getVariableOptions: (
    spec: never,
    context: GetVariableOptionsContext
  ) => ReturnType<VariablePlugin['getVariableOptions']>;
}

/** What getVariableOptions gets: Perses passes an abort signal from 0.53 on. */
type OptionsOf<Spec> = (
  spec: Spec,
  context: GetVariableOptionsContext,
  signal?: AbortSignal
) => ReturnType<VariablePlugin<Spec>['getVariableOptions']>;

/**
 * Returns what loads the options of a variable: the function of the Prometheus plugin, which runs here against our
 * datasource, so that a variable that changes kinds has the same options.
 */
export function optionsAsIn<Spec extends TieredPrometheusVariableSpec>({
  getVariableOptions,
}: PrometheusVariable): OptionsOf<Spec> {
  return async (spec, context, signal) => {
    const store = context.datasourceStore;
    const getDatasourceClient = async <Client>(selector: Parameters<DatasourceStore['getDatasource']>[0]) =>
      withSignal(await store.getDatasourceClient<TieredPrometheusClient>(selector), signal) as Client;
    return getVariableOptions({ ...spec, datasource: await selectedDatasource(spec, context) } as never, {
      ...context,
      datasourceStore: { ...store, getDatasourceClient },
    });
  };
}

/** The datasource of a spec, a variable resolved among those of our kind. */
async function selectedDatasource(
  { datasource = DEFAULT_DATASOURCE }: TieredPrometheusVariableSpec,
  { datasourceStore, variables }: GetVariableOptionsContext
) {
  if (!isVariableDatasource(datasource)) {
    return datasource;
  }
  const known = await datasourceStore.listDatasourceSelectItems(DATASOURCE_KIND);
  return datasourceSelectValueToSelector(datasource, variables, known) ?? DEFAULT_DATASOURCE;
}

/** The variables that a variable waits for: those of its texts, and the one that names its datasource. */
export function dependencies({ datasource }: TieredPrometheusVariableSpec, texts: readonly string[]) {
  const all = isVariableDatasource(datasource) ? [...texts, datasource] : texts;
  return { variables: [...new Set(all.flatMap((text) => parseVariables(text)))] };
}
