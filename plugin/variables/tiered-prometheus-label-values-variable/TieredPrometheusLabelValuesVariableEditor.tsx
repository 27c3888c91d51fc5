import { MatcherEditor } from '@perses-dev/prometheus-plugin/lib/plugins/MatcherEditor';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import type { TieredPrometheusLabelValuesVariableSpec } from '../../model/variable-specs';
import { useVariableDraft } from '../../perses';
import { LabelNameField, VariableFields } from '../VariableFields';

/** The editor of a TieredPrometheusLabelValuesVariable. */
export function TieredPrometheusLabelValuesVariableEditor(
  props: OptionsEditorProps<TieredPrometheusLabelValuesVariableSpec>
): ReactElement {
  const draft = useVariableDraft(props);
  return (
    <VariableFields draft={draft} isReadonly={props.isReadonly}>
      <LabelNameField
        value={draft.draft.labelName}
        onChange={(labelName) => {
          draft.edit({ labelName });
        }}
        isReadonly={props.isReadonly}
      />
      <MatcherEditor
        matchers={draft.draft.matchers ?? []}
        onChange={(matchers) => {
          draft.edit({ matchers });
        }}
        isReadonly={props.isReadonly}
      />
    </VariableFields>
  );
}
