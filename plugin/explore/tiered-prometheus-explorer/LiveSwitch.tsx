import { FormControlLabel, Switch, Tooltip } from '@mui/material';
import type { QueryDefinition } from '@perses-dev/core';
import { useTimeRange } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { askable, QUERY_KIND } from './explorer-state';

/** How many queries go live at once. Over HTTP/1.1, a browser opens six connections to a server, for all its tabs. */
const MAX_LIVE_QUERIES = 3;

interface LiveSwitchProps {
  isOn: boolean;
  /** Why the switch cannot be used. Undefined: it can. */
  obstacle?: string;
  onChange: (isOn: boolean) => void;
}

/** Switches between one answer and a live stream. */
export function LiveSwitch({ isOn, obstacle, onChange }: LiveSwitchProps): ReactElement {
  return (
    <Tooltip describeChild title={obstacle ?? 'New steps are drawn as they come, without a refresh.'} placement="left">
      <FormControlLabel
        label="Live"
        disabled={obstacle !== undefined}
        control={
          <Switch
            size="small"
            checked={isOn}
            onChange={(event) => {
              onChange(event.target.checked);
            }}
          />
        }
        sx={{ flexShrink: 0, mr: 0.5 }}
      />
    </Tooltip>
  );
}

/** Says why queries cannot be followed live now. Undefined: they can. */
export function useObstacleToLive(queries: QueryDefinition[]): string | undefined {
  const { timeRange } = useTimeRange();
  const asked = askable(queries);
  if (!('pastDuration' in timeRange) || timeRange.end !== undefined) {
    return 'Live needs a time range that ends now, such as the last hour. This one is absolute.';
  }
  if (asked.some(({ spec }) => spec.plugin.kind !== QUERY_KIND)) {
    return 'Live works for queries of a Tiered Prometheus datasource only.';
  }
  return asked.length > MAX_LIVE_QUERIES ? `Live works for up to ${String(MAX_LIVE_QUERIES)} queries.` : undefined;
}
