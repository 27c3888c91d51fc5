import { PromQLEditor } from '@perses-dev/prometheus-plugin/lib/components/PromQLEditor';
import type { PrometheusDatasourceSelector } from '@perses-dev/prometheus-plugin/lib/model/prometheus-selectors';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { useDatasourceClient, useDatasourceSelectValueToSelector } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { useMemo } from 'react';
import type { TieredPrometheusClient } from '../../model/client';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../../model/spec';
import type { TieredPrometheusPromQLVariableSpec } from '../../model/variable-specs';
import { useSpecDraft } from '../use-spec-draft';
import { LabelNameField, VariableFields } from '../VariableFields';

/** The editor of a TieredPrometheusPromQLVariable. */
export function TieredPrometheusPromQLVariableEditor(
  props: OptionsEditorProps<TieredPrometheusPromQLVariableSpec>
): ReactElement {
  const draft = useSpecDraft(props);
  const datasource = useDatasourceSelectValueToSelector(draft.draft.datasource ?? DEFAULT_DATASOURCE, DATASOURCE_KIND);
  const { data: client } = useDatasourceClient<TieredPrometheusClient>(datasource);
  const url = client?.options.datasourceUrl;
  const completion = useMemo(() => ({ remote: { url } }), [url]); // a new one would forget what it has loaded
  return (
    <VariableFields draft={draft} isReadonly={props.isReadonly}>
      <PromQLEditor
        completeConfig={completion}
        // The editor asks this datasource to parse, and names its own kind only.
        datasource={datasource as unknown as PrometheusDatasourceSelector}
        value={draft.draft.expr}
        onChange={(expr) => {
          draft.edit({ expr });
        }}
        isReadOnly={props.isReadonly}
        width="100%"
      />
      <LabelNameField
        value={draft.draft.labelName}
        onChange={(labelName) => {
          draft.edit({ labelName });
        }}
        isReadonly={props.isReadonly}
      />
    </VariableFields>
  );
}
