import { PromQLEditor } from '@perses-dev/prometheus-plugin/lib/components/PromQLEditor';
import type { PrometheusDatasourceSelector } from '@perses-dev/prometheus-plugin/lib/model/prometheus-selectors';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { useDatasource, useDatasourceClient, useDatasourceSelectValueToSelector } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { useMemo } from 'react';
import type { TieredPrometheusClient } from '../../model/client';
import { completeConfig } from '../../model/completion';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../../model/spec';
import type { TieredPrometheusPromQLVariableSpec } from '../../model/variable-specs';
import { useVariableDraft } from '../../perses';
import { LabelNameField, VariableFields } from '../VariableFields';

/** The editor of a TieredPrometheusPromQLVariable. */
export function TieredPrometheusPromQLVariableEditor(
  props: OptionsEditorProps<TieredPrometheusPromQLVariableSpec>
): ReactElement {
  const draft = useVariableDraft(props);
  const datasource = useDatasourceSelectValueToSelector(draft.draft.datasource ?? DEFAULT_DATASOURCE, DATASOURCE_KIND);
  const { data: client } = useDatasourceClient<TieredPrometheusClient>(datasource);
  const { data } = useDatasource(datasource);
  const url = client?.options.datasourceUrl;
  const queryParams = (data?.plugin.spec as TieredPrometheusDatasourceSpec | undefined)?.queryParams;
  const completion = useMemo(() => completeConfig(url, queryParams), [url, queryParams]);
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
        // The Tab key leaves the editor, as it leaves every other field.
        indentWithTab={false}
        onCreateEditor={(view) => {
          view.contentDOM.setAttribute('aria-label', 'PromQL Expression');
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
