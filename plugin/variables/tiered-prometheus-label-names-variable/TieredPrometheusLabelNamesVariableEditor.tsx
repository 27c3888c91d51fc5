import { MatcherEditor } from '@perses-dev/prometheus-plugin/lib/plugins/MatcherEditor';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import type { TieredPrometheusLabelNamesVariableSpec } from '../../model/variable-specs';
import { useVariableDraft } from '../../perses';
import { VariableFields } from '../VariableFields';

/** The editor of a TieredPrometheusLabelNamesVariable. */
export function TieredPrometheusLabelNamesVariableEditor(
  props: OptionsEditorProps<TieredPrometheusLabelNamesVariableSpec>
): ReactElement {
  const draft = useVariableDraft(props);
  return (
    <VariableFields draft={draft} isReadonly={props.isReadonly}>
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
