import { Autocomplete, Button, FormControlLabel, Stack, Switch, TextField, Tooltip } from '@mui/material';
import { PromQLEditor } from '@perses-dev/prometheus-plugin/lib/components/PromQLEditor';
import type { PrometheusDatasourceSelector } from '@perses-dev/prometheus-plugin/lib/model/prometheus-selectors';
import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { useDatasource, useDatasourceClient, useDatasourceSelectValueToSelector } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { useMemo } from 'react';
import { DatasourceField } from '../../components/DatasourceField';
import type { TieredPrometheusPromQLAnnotationSpec } from '../../model/annotation-spec';
import { firingAlerts } from '../../model/annotation-spec';
import type { TieredPrometheusClient } from '../../model/client';
import { completeConfig } from '../../model/completion';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../../model/spec';
import { useVariableDraft } from '../../perses';

/** The texts of the tooltip. */
const texts = [
  {
    field: 'title',
    label: 'Title',
    placeholder: 'Example: Deployment of {{deployment}}',
    help: 'First line of the tooltip. {{label_name}} stands for the value of a label.',
  },
  {
    field: 'legend',
    label: 'Legend',
    placeholder: 'Example: {{instance}}',
    help: 'Text below the title. {{label_name}} stands for the value of a label.',
  },
] as const;

/** The editor of a TieredPrometheusPromQLAnnotation. Perses runs what is reported when its button asks for it. */
export function TieredPrometheusPromQLAnnotationEditor(
  props: OptionsEditorProps<TieredPrometheusPromQLAnnotationSpec>
): ReactElement {
  const { isReadonly } = props;
  const { draft, edit } = useVariableDraft(props);
  const datasource = useDatasourceSelectValueToSelector(draft.datasource ?? DEFAULT_DATASOURCE, DATASOURCE_KIND);
  const { data: client } = useDatasourceClient<TieredPrometheusClient>(datasource);
  const { data } = useDatasource(datasource);
  const url = client?.options.datasourceUrl;
  const queryParams = (data?.plugin.spec as TieredPrometheusDatasourceSpec | undefined)?.queryParams;
  const completion = useMemo(() => completeConfig(url, queryParams), [url, queryParams]);
  return (
    <Stack spacing={2} sx={{ pt: 1 }}>
      <DatasourceField
        value={draft.datasource}
        onChange={(next) => {
          edit({ datasource: next });
        }}
        isReadonly={isReadonly}
      />
      <PromQLEditor
        completeConfig={completion}
        // Only passed on: the client that it gets parses queries as that of the Prometheus plugin does.
        datasource={datasource as unknown as PrometheusDatasourceSelector}
        value={draft.expr}
        onChange={(expr) => {
          edit({ expr });
        }}
        // The Tab key leaves the editor, as it leaves every other field.
        indentWithTab={false}
        onCreateEditor={(view) => {
          view.contentDOM.setAttribute('aria-label', 'PromQL Expression');
        }}
        isReadOnly={isReadonly}
      />
      {isReadonly !== true && (
        <Tooltip describeChild title="Fills the fields so that each time is marked at which an alert was firing">
          <Button
            variant="outlined"
            sx={{ alignSelf: 'flex-start' }}
            onClick={() => {
              edit(firingAlerts);
            }}
          >
            Mark firing alerts
          </Button>
        </Tooltip>
      )}
      {texts.map(({ field, label, placeholder, help }) => (
        <TextField
          key={field}
          fullWidth
          label={label}
          placeholder={placeholder}
          helperText={help}
          value={draft[field] ?? ''}
          onChange={(event) => {
            edit({ [field]: event.target.value === '' ? undefined : event.target.value });
          }}
          slotProps={{ inputLabel: { shrink: true }, input: { readOnly: isReadonly } }}
        />
      ))}
      <Autocomplete
        multiple
        freeSolo
        options={[]}
        value={draft.tags ?? []}
        onChange={(_, tags: string[]) => {
          edit({ tags: tags.length === 0 ? undefined : tags });
        }}
        readOnly={isReadonly}
        renderInput={(field) => (
          <TextField
            {...field}
            label="Tags"
            helperText="Names of the labels that the tooltip lists, each ended by Enter. Left out: all labels."
          />
        )}
      />
      <FormControlLabel
        control={
          <Switch
            checked={draft.splitAtGaps ?? false}
            disabled={isReadonly}
            onChange={(_, checked) => {
              edit({ splitAtGaps: checked ? true : undefined });
            }}
          />
        }
        label="Split at gaps: mark a series anew after each step without a sample"
      />
    </Stack>
  );
}
