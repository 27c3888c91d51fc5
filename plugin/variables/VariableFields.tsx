import { Stack, TextField } from '@mui/material';
import type { DatasourceSelectProps } from '@perses-dev/plugin-system';
import { DatasourceSelect, isVariableDatasource } from '@perses-dev/plugin-system';
import type { ReactElement, ReactNode } from 'react';
import type { TieredPrometheusDatasourceSelector } from '../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../model/spec';
import type { TieredPrometheusVariableSpec } from '../model/variable-specs';
import type { SpecDraft } from './use-spec-draft';

interface VariableFieldsProps {
  draft: SpecDraft<TieredPrometheusVariableSpec>;
  isReadonly?: boolean;
  /** The fields below that of the datasource. */
  children: ReactNode;
}

/** The fields of a variable's editor, one below the other: the datasource, and those of the variable. */
export function VariableFields({
  draft: { draft, edit, report },
  isReadonly,
  children,
}: VariableFieldsProps): ReactElement {
  const select: DatasourceSelectProps['onChange'] = (next) => {
    edit({ datasource: specOf(next) });
  };
  return (
    <Stack spacing={2} sx={{ pt: 1 }} onBlur={report}>
      <DatasourceSelect
        datasourcePluginKind={DATASOURCE_KIND}
        value={draft.datasource ?? DEFAULT_DATASOURCE}
        onChange={select}
        readOnly={isReadonly}
        label="Tiered Prometheus Datasource"
      />
      {children}
    </Stack>
  );
}

/** What a spec says of the selected datasource: nothing of the default one. */
function specOf(
  selected: Parameters<DatasourceSelectProps['onChange']>[0]
): TieredPrometheusVariableSpec['datasource'] {
  if (isVariableDatasource(selected)) {
    return selected;
  }
  return selected.name === undefined ? undefined : (selected as TieredPrometheusDatasourceSelector);
}

interface LabelNameFieldProps {
  value: string;
  onChange: (labelName: string) => void;
  isReadonly?: boolean;
}

/** The field for the label whose values are the options of a variable. */
export function LabelNameField({ value, onChange, isReadonly }: LabelNameFieldProps): ReactElement {
  return (
    <TextField
      label="Label Name"
      required
      value={value}
      onChange={(event) => {
        onChange(event.target.value);
      }}
      slotProps={{ input: { readOnly: isReadonly } }}
    />
  );
}
