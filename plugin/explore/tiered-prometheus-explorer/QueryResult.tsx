import { Box } from '@mui/material';
import type { QueryDefinition } from '@perses-dev/core';
import { Panel } from '@perses-dev/dashboards';
import { DataQueriesProvider, useDataQueries, useSuggestedStepMs } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { useMemo } from 'react';
import useResizeObserver from 'use-resize-observer';
import { dataQueryDefinitions } from '../../perses';
import { AnswerStrip } from './AnswerStrip';
import { LiveResults } from './LiveResults';

interface QueryResultProps {
  queries: QueryDefinition[];
  /** The table shows the newest value of each series, the graph all values in the time range. */
  view: 'table' | 'graph';
  /** Height of the table or graph, in pixels. */
  height?: number;
  /** Feeds the table or graph by live streams, which begin anew with another number. Undefined: it shows one answer. */
  liveRun?: number;
}

/** The answers that there are stay, and no query runs. */
const notAsked = { enabled: false };

/** Runs queries, and shows what answered and what came back. */
export function QueryResult({ queries, view, height = 600, liveRun }: QueryResultProps): ReactElement {
  const { width, ref } = useResizeObserver();
  const suggestedStepMs = useSuggestedStepMs(width);
  const definitions = useMemo(() => dataQueryDefinitions(queries), [queries]);
  return (
    <Box ref={ref}>
      <DataQueriesProvider
        definitions={definitions}
        options={view === 'graph' ? { suggestedStepMs, mode: 'range' } : { mode: 'instant' }}
        queryOptions={liveRun === undefined ? undefined : notAsked}
      >
        <LiveResults queries={queries} view={view} width={width} run={liveRun}>
          <AnswerStrip />
          <ResultPanel queries={queries} view={view} height={height} />
        </LiveResults>
      </DataQueriesProvider>
    </Box>
  );
}

/** The panel, unless there is nothing to show in it: no query, or errors only, which the strip tells. */
function ResultPanel({ queries, view, height = 0 }: QueryResultProps): ReactElement | null {
  const { queryResults } = useDataQueries('TimeSeriesQuery');
  const definition = useMemo(
    () => ({
      kind: 'Panel' as const,
      spec: {
        queries,
        display: { name: '' },
        plugin: { kind: view === 'graph' ? 'TimeSeriesChart' : 'TimeSeriesTable', spec: {} },
      },
    }),
    [queries, view]
  );
  const isEmpty = queryResults.every(({ data, error }) => data === undefined && Boolean(error));
  return isEmpty ? null : (
    <Box height={height}>
      <Panel panelOptions={{ hideHeader: true }} definition={definition} />
    </Box>
  );
}
