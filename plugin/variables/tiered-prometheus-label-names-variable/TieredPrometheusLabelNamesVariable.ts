import { PrometheusLabelNamesVariable } from '@perses-dev/prometheus-plugin/lib/plugins/PrometheusLabelNamesVariable';
import type { VariablePlugin } from '@perses-dev/plugin-system';
import { inPersesTheme } from '../../components/in-perses-theme';
import type { TieredPrometheusLabelNamesVariableSpec } from '../../model/variable-specs';
import { dependencies, optionsAsIn } from '../variable-plugin';
import { TieredPrometheusLabelNamesVariableEditor } from './TieredPrometheusLabelNamesVariableEditor';

/** The variable plugin whose options are the names of labels of a TieredPrometheusDatasource. */
export const TieredPrometheusLabelNamesVariable: VariablePlugin<TieredPrometheusLabelNamesVariableSpec> = {
  getVariableOptions: optionsAsIn(PrometheusLabelNamesVariable),
  dependsOn: (spec, context) => dependencies(spec, spec.matchers ?? [], context),
  OptionsEditorComponent: inPersesTheme(TieredPrometheusLabelNamesVariableEditor),
  createInitialOptions: () => ({}),
};
