import { Autocomplete, Chip, TextField } from '@mui/material';
import type { ReactElement } from 'react';
import { withoutBlanks } from '../../model/alert-thresholds';

interface CompletedProps<Value> {
  label: string;
  help: string;
  /** What is offered; any other text is taken, too. */
  options: readonly string[];
  value: Value | undefined;
  /** Called with what was entered; undefined if nothing is left. */
  onChange: (next: Value | undefined) => void;
  isReadonly?: boolean;
}

interface CompletedListProps extends CompletedProps<string[]> {
  /** Says what is wrong with an entry; undefined if nothing is. */
  mistakeOf?: (entry: string) => string | undefined;
}

/** A field for several texts, with completion. What was typed is an entry once Enter is pressed or the focus leaves. */
export function CompletedList(props: CompletedListProps): ReactElement {
  const { label, help, options, value = [], onChange, isReadonly, mistakeOf = () => undefined } = props;
  const wrong = value.find((entry) => mistakeOf(entry) !== undefined);
  return (
    <Autocomplete
      multiple
      freeSolo
      autoSelect
      filterSelectedOptions
      readOnly={isReadonly}
      options={[...options]}
      value={value}
      onChange={(_, next) => {
        const entries = withoutBlanks(next).map((entry) => entry.trim());
        onChange(entries.length === 0 ? undefined : [...new Set(entries)]);
      }}
      renderTags={(entries, getTagProps) =>
        entries.map((entry, index) => {
          const { key, ...tagProps } = getTagProps({ index });
          const color = mistakeOf(entry) === undefined ? 'default' : 'error';
          return <Chip key={key} size="small" label={entry} color={color} {...tagProps} />;
        })
      }
      renderInput={(parameters) => (
        <TextField
          {...parameters}
          label={label}
          error={wrong !== undefined}
          helperText={wrong === undefined ? help : `${wrong}: ${String(mistakeOf(wrong))}`}
          slotProps={{ inputLabel: { shrink: true } }}
        />
      )}
    />
  );
}

/** A field for one text, with completion. */
export function CompletedField(props: CompletedProps<string>): ReactElement {
  const { label, help, options, value = '', onChange, isReadonly } = props;
  return (
    <Autocomplete
      fullWidth
      freeSolo
      readOnly={isReadonly}
      options={[...options]}
      inputValue={value}
      onInputChange={(_, next, reason) => {
        // "reset" reports what was passed in, unless an option was chosen.
        if (next !== value && (reason !== 'reset' || next !== '')) {
          onChange(next === '' ? undefined : next);
        }
      }}
      renderInput={(parameters) => (
        <TextField {...parameters} label={label} helperText={help} slotProps={{ inputLabel: { shrink: true } }} />
      )}
    />
  );
}
