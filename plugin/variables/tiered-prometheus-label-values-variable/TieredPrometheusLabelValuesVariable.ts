import { PrometheusLabelValuesVariable } from '@perses-dev/prometheus-plugin/lib/plugins/PrometheusLabelValuesVariable';
import type { VariablePlugin } from '@perses-dev/plugin-system';
import { inPersesTheme } from '../../components/in-perses-theme';
import type { TieredPrometheusLabelValuesVariableSpec } from '../../model/variable-specs';
import { dependencies, optionsAsIn } from '../variable-plugin';
import { TieredPrometheusLabelValuesVariableEditor } from './TieredPrometheusLabelValuesVariableEditor';

/** The variable plugin whose options are the values of a label of a TieredPrometheusDatasource. */
export const TieredPrometheusLabelValuesVariable: VariablePlugin<TieredPrometheusLabelValuesVariableSpec> = {
  getVariableOptions: optionsAsIn(PrometheusLabelValuesVariable),
  dependsOn: (spec, context) => dependencies(spec, [spec.labelName, ...(spec.matchers ?? [])], context),
  OptionsEditorComponent: inPersesTheme(TieredPrometheusLabelValuesVariableEditor),
  createInitialOptions: () => ({ labelName: '' }),
};
