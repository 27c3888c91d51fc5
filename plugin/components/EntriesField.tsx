import { Button, IconButton, Stack, TextField, Typography } from '@mui/material';
import RemoveIcon from 'mdi-material-ui/Minus';
import AddIcon from 'mdi-material-ui/Plus';
import type { ReactElement } from 'react';
import { useId, useState } from 'react';

type Entry = readonly [name: string, value: string];

interface EntriesFieldProps {
  label: string;
  /** What one of them is called, such as "parameter". */
  what: string;
  help: string;
  value: Record<string, string> | undefined;
  /** Called with the entries that have a name; undefined if there are none. */
  onChange: (next: Record<string, string> | undefined) => void;
  isReadonly?: boolean;
}

/** Pairs of a name and a value, one in each row. */
export function EntriesField({ label, what, help, value, onChange, isReadonly }: EntriesFieldProps): ReactElement {
  const id = useId();
  // Rows without a name, or with one that is there twice, are no part of the value.
  const [rows, setRows] = useState<readonly Entry[]>(() => Object.entries(value ?? {}));
  const shown = sameEntries(value, fromRows(rows)) ? rows : Object.entries(value ?? {});
  const change = (next: readonly Entry[]): void => {
    setRows(next);
    onChange(fromRows(next));
  };
  const changeRow = (index: number, row: Entry): void => {
    change(shown.map((each, at) => (at === index ? row : each)));
  };
  return (
    <Stack spacing={1.5} role="group" aria-labelledby={`${id}-label`} aria-describedby={`${id}-help`}>
      <div>
        <Typography variant="h4" id={`${id}-label`}>
          {label}
        </Typography>
        <Typography variant="body2" color="text.secondary" id={`${id}-help`}>
          {help}
        </Typography>
      </div>
      {shown.map(([name, text], index) => {
        const isTwice = name !== '' && shown.some(([other], at) => other === name && at < index);
        return (
          // Rows have no identity but their place.
          <Stack direction="row" spacing={1} alignItems="flex-start" key={index}>
            <TextField
              size="small"
              fullWidth
              label={`Name of ${what} ${String(index + 1)}`}
              value={name}
              error={isTwice}
              helperText={isTwice ? `there is another ${what} of this name` : undefined}
              onChange={(event) => {
                changeRow(index, [event.target.value, text]);
              }}
              slotProps={{ input: { readOnly: isReadonly } }}
            />
            <TextField
              size="small"
              fullWidth
              label={`Value of ${what} ${String(index + 1)}`}
              value={text}
              onChange={(event) => {
                changeRow(index, [name, event.target.value]);
              }}
              slotProps={{ input: { readOnly: isReadonly } }}
            />
            {isReadonly !== true && (
              <IconButton
                aria-label={`Remove ${what} ${String(index + 1)}`}
                onClick={() => {
                  change(shown.filter((_, at) => at !== index));
                }}
              >
                <RemoveIcon />
              </IconButton>
            )}
          </Stack>
        );
      })}
      {isReadonly !== true && (
        <Button
          startIcon={<AddIcon />}
          sx={{ alignSelf: 'flex-start' }}
          onClick={() => {
            setRows([...shown, ['', '']]);
          }}
        >
          Add {what}
        </Button>
      )}
    </Stack>
  );
}

function fromRows(rows: readonly Entry[]): Record<string, string> | undefined {
  const named = rows.filter(([name]) => name !== '');
  return named.length === 0 ? undefined : Object.fromEntries(named);
}

/** Whether two records hold the same, in whatever order; none and an empty one are the same. */
function sameEntries(one: Record<string, string> = {}, other: Record<string, string> = {}): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
