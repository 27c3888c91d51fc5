import { PrometheusPromQLVariable } from '@perses-dev/prometheus-plugin/lib/plugins/PrometheusPromQLVariable';
import type { VariablePlugin } from '@perses-dev/plugin-system';
import { inPersesTheme } from '../../components/in-perses-theme';
import type { TieredPrometheusPromQLVariableSpec } from '../../model/variable-specs';
import { dependencies, optionsAsIn } from '../variable-plugin';
import { TieredPrometheusPromQLVariableEditor } from './TieredPrometheusPromQLVariableEditor';

/** The variable plugin whose options are the values of a label in the result of a query of a TieredPrometheusDatasource. */
export const TieredPrometheusPromQLVariable: VariablePlugin<TieredPrometheusPromQLVariableSpec> = {
  getVariableOptions: optionsAsIn(PrometheusPromQLVariable),
  dependsOn: (spec, context) => dependencies(spec, [spec.expr, spec.labelName], context),
  OptionsEditorComponent: inPersesTheme(TieredPrometheusPromQLVariableEditor),
  createInitialOptions: () => ({ expr: '', labelName: '' }),
};
