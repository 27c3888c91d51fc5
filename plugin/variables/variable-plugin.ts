import type { GetVariableOptionsContext, VariablePlugin } from '@perses-dev/plugin-system';
import { withSignal } from '../model/client';
import { dashboardDatasource, variableNames } from '../model/dashboard-datasource';
import { replaceInText } from '../model/interpolation';
import { replaceInPromQL } from '../model/promql';
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

/** The texts of the three kinds of variables. */
interface Texts {
  matchers?: string[];
  expr?: string;
  labelName?: string;
}

/**
 * Returns what loads the options of a variable: the function of the Prometheus plugin, which runs here against our
 * datasource, so that a variable that changes kinds has the same options. It finds no variables to replace any more:
 * values are escaped here, which they are not there.
 */
export function optionsAsIn<Spec extends TieredPrometheusVariableSpec & Texts>({
  getVariableOptions,
}: PrometheusVariable): OptionsOf<Spec> {
  return async (spec, context, signal) => {
    const { variables } = context;
    const { selector, store } = await dashboardDatasource(
      context.datasourceStore,
      spec.datasource,
      variables,
      (client) => withSignal(client, signal)
    );
    const { matchers, expr, labelName } = spec;
    const resolved = {
      ...spec,
      datasource: selector,
      matchers: matchers?.map((matcher) => replaceInPromQL(matcher, variables)),
      expr: expr === undefined ? undefined : replaceInPromQL(expr, variables),
      labelName: labelName === undefined ? undefined : replaceInText(labelName, variables),
    };
    return getVariableOptions(resolved as never, { ...context, variables: {}, datasourceStore: store });
  };
}

/** The variables that a variable waits for: those of its texts, and of its datasource. */
export function dependencies(
  { datasource }: TieredPrometheusVariableSpec,
  texts: readonly string[],
  { variables }: GetVariableOptionsContext
) {
  return { variables: variableNames(datasource, texts, variables) };
}
