import type { TextFieldProps } from '@mui/material';
import { TextField } from '@mui/material';
import type { ReactElement } from 'react';

/** What is wrong with the fields of a form, by their path in the spec. */
export type MistakesByField = ReadonlyMap<string, string>;

/** What every field of a form is told. */
export interface FormState {
  mistakes: MistakesByField;
  isReadonly?: boolean;
}

interface SpecFieldProps extends Pick<TextFieldProps, 'label' | 'placeholder' | 'select' | 'children' | 'sx'> {
  form: FormState;
  /** Path of the field in the spec, by which its mistake is found. */
  path: string;
  value: string | undefined;
  /** Called with what was typed; undefined if nothing is left. */
  onChange: (next: string | undefined) => void;
  /** Shown below the field while it has no mistake. */
  help?: string;
  required?: boolean;
}

/** A field of a spec. What Perses would say of its value when it is saved is shown while it is typed. */
export function SpecField({
  form: { mistakes, isReadonly },
  path,
  value,
  onChange,
  help,
  ...props
}: SpecFieldProps): ReactElement {
  const mistake = mistakes.get(path);
  return (
    <TextField
      {...props}
      fullWidth
      value={value ?? ''}
      error={mistake !== undefined}
      helperText={mistake ?? help}
      onChange={(event) => {
        onChange(event.target.value === '' ? undefined : event.target.value);
      }}
      slotProps={{
        // What is left out is explained by the placeholder, which only shows if the label does not cover it.
        inputLabel: { shrink: true },
        input: { readOnly: isReadonly },
        select: { displayEmpty: true, readOnly: isReadonly },
      }}
    />
  );
}
