import { Box, Stack, Tab, Tabs } from '@mui/material';
import type { QueryDefinition } from '@perses-dev/core';
import { useExplorerManagerContext } from '@perses-dev/explore';
import { useTimeRange } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { useEffect, useMemo, useState } from 'react';
import { inPersesTheme } from '../../components/in-perses-theme';
import type { ExplorerState, ExplorerTab } from './explorer-state';
import { queryOf } from './explorer-state';
import { MetricsFinder } from './finder/MetricsFinder';
import { LiveSwitch, useObstacleToLive } from './LiveSwitch';
import { QueryTab } from './QueryTab';

const tabs: { value: ExplorerTab; label: string }[] = [
  { value: 'table', label: 'Table' },
  { value: 'graph', label: 'Graph' },
  { value: 'finder', label: 'Finder' },
];

/** The explorer of tiered datasources: queries with what they return and which tier answered, and a finder of metrics. */
export const TieredPrometheusExplorer = inPersesTheme(function TieredPrometheusExplorer(): ReactElement {
  const { data, setData } = useExplorerManagerContext<ExplorerState>();
  const { tab = 'table', live = false } = data;
  const queries = useQueries(data);
  const { refresh } = useTimeRange();
  const obstacle = useObstacleToLive(queries);
  const isLive = live && obstacle === undefined;
  // Running the same queries once more begins new streams, after those that stopped.
  const [liveRun, setLiveRun] = useState(0);

  function run(next: QueryDefinition[]): void {
    if (JSON.stringify(next) === JSON.stringify(queries)) {
      if (isLive) {
        setLiveRun(liveRun + 1);
      } else {
        refresh();
      }
    }
    setData({ ...data, tab, queries: next });
  }

  return (
    <Stack gap={2} sx={{ width: '100%' }}>
      <Stack direction="row" alignItems="center" gap={2} sx={{ borderBottom: 1, borderColor: 'divider' }}>
        <Tabs
          value={tab}
          onChange={(_, next: ExplorerTab) => {
            setData({ ...data, queries, tab: next });
          }}
          aria-label="Views of the explorer"
          variant="scrollable"
          sx={{ flexGrow: 1 }}
        >
          {tabs.map(({ value, label }) => (
            <Tab key={value} value={value} label={label} id={`explorer-tab-${value}`} aria-controls="explorer-view" />
          ))}
        </Tabs>
        {tab !== 'finder' && (
          <LiveSwitch
            isOn={isLive}
            obstacle={obstacle}
            onChange={(next) => {
              setData({ ...data, tab, queries, live: next ? true : undefined });
            }}
          />
        )}
      </Stack>
      <Box role="tabpanel" id="explorer-view" aria-labelledby={`explorer-tab-${tab}`}>
        {tab === 'finder' ? (
          <MetricsFinder
            state={data}
            onChange={(changes) => {
              setData({ ...data, tab, queries, ...changes });
            }}
          />
        ) : (
          <QueryTab key={tab} queries={queries} onRun={run} view={tab} liveRun={isLive ? liveRun : undefined} />
        )}
      </Box>
    </Stack>
  );
});

/**
 * The queries of a state. The links of the finder leave them out of the URL, so they are remembered; and there is always
 * one, since the page would otherwise begin with a query of its own default kind.
 */
function useQueries({ queries, datasource }: ExplorerState): QueryDefinition[] {
  const [remembered, setRemembered] = useState<string>();
  const written = queries === undefined || queries.length === 0 ? undefined : JSON.stringify(queries);
  useEffect(() => {
    if (written !== undefined) {
      setRemembered(written);
    }
  }, [written]);
  const text = written ?? remembered ?? JSON.stringify([queryOf('', datasource)]);
  return useMemo(() => JSON.parse(text) as QueryDefinition[], [text]);
}
