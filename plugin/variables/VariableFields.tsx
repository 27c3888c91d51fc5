import { Stack, TextField } from '@mui/material';
import type { ReactElement, ReactNode } from 'react';
import { DatasourceField } from '../components/DatasourceField';
import type { TieredPrometheusVariableSpec } from '../model/variable-specs';
import type { VariableDraft } from '../perses';

interface VariableFieldsProps {
  draft: VariableDraft<TieredPrometheusVariableSpec>;
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
  return (
    <Stack spacing={2} sx={{ pt: 1 }} onBlur={report}>
      <DatasourceField
        value={draft.datasource}
        onChange={(datasource) => {
          edit({ datasource });
        }}
        isReadonly={isReadonly}
      />
      {children}
    </Stack>
  );
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
