import { Button, IconButton, MenuItem, Stack, TextField, Typography } from '@mui/material';
import type { HTTPAllowedEndpoint } from '@perses-dev/core';
import RemoveIcon from 'mdi-material-ui/Minus';
import AddIcon from 'mdi-material-ui/Plus';
import type { ReactElement } from 'react';
import { useId } from 'react';
import { endpointsOfPlugin } from '../../model/endpoints';

interface EndpointsFieldProps {
  value: HTTPAllowedEndpoint[] | undefined;
  /** Called with the endpoints; undefined if there are none, which allows all. */
  onChange: (next: HTTPAllowedEndpoint[] | undefined) => void;
  isReadonly?: boolean;
}

/** The endpoints of the gateway that Perses lets requests through to. */
export function EndpointsField({ value = [], onChange, isReadonly }: EndpointsFieldProps): ReactElement {
  const id = useId();
  const change = (next: HTTPAllowedEndpoint[]): void => {
    onChange(next.length === 0 ? undefined : next);
  };
  const changeRow = (index: number, changes: Partial<HTTPAllowedEndpoint>): void => {
    change(value.map((each, at) => (at === index ? { ...each, ...changes } : each)));
  };
  const missing = endpointsOfPlugin.filter(
    ({ endpointPattern, method }) =>
      !value.some((each) => each.endpointPattern === endpointPattern && each.method === method)
  );
  return (
    <Stack spacing={1.5} role="group" aria-labelledby={`${id}-label`} aria-describedby={`${id}-help`}>
      <div>
        <Typography variant="h4" id={`${id}-label`}>
          Allowed endpoints
        </Typography>
        <Typography variant="body2" color="text.secondary" id={`${id}-help`}>
          Regular expressions of the paths that Perses lets through, each for one method. Left out: all of them.
        </Typography>
      </div>
      {value.map(({ endpointPattern, method }, index) => (
        // Rows have no identity but their place.
        <Stack direction="row" spacing={1} key={index}>
          <TextField
            size="small"
            fullWidth
            label={`Pattern of endpoint ${String(index + 1)}`}
            value={endpointPattern}
            onChange={(event) => {
              changeRow(index, { endpointPattern: event.target.value });
            }}
            slotProps={{ input: { readOnly: isReadonly } }}
          />
          <TextField
            select
            size="small"
            label={`Method of endpoint ${String(index + 1)}`}
            value={method}
            onChange={(event) => {
              changeRow(index, { method: event.target.value });
            }}
            slotProps={{ select: { readOnly: isReadonly } }}
            sx={{ minWidth: 180 }}
          >
            {['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map((each) => (
              <MenuItem key={each} value={each}>
                {each}
              </MenuItem>
            ))}
          </TextField>
          {isReadonly !== true && (
            <IconButton
              aria-label={`Remove endpoint ${String(index + 1)}`}
              onClick={() => {
                change(value.filter((_, at) => at !== index));
              }}
            >
              <RemoveIcon />
            </IconButton>
          )}
        </Stack>
      ))}
      {isReadonly !== true && (
        <Stack direction="row" spacing={1} flexWrap="wrap" useFlexGap>
          <Button
            startIcon={<AddIcon />}
            onClick={() => {
              change([...value, { endpointPattern: '', method: 'GET' }]);
            }}
          >
            Add endpoint
          </Button>
          {missing.length > 0 && (
            <Button
              onClick={() => {
                change([...value, ...missing]);
              }}
            >
              Add all that this plugin asks
            </Button>
          )}
        </Stack>
      )}
    </Stack>
  );
}
