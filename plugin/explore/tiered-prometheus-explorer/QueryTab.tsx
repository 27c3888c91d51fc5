import { Stack, Typography } from '@mui/material';
import type { QueryDefinition } from '@perses-dev/core';
import type { MultiQueryEditorProps } from '@perses-dev/plugin-system';
import { MultiQueryEditor } from '@perses-dev/plugin-system';
import type { ComponentType, ReactElement } from 'react';
import { useEffect, useMemo, useState } from 'react';
import { reportsAreDrafts } from '../../perses';
import { QueryModeContext } from '../../queries/tiered-prometheus-time-series-query/query-mode';
import { askable, QUERY_KIND, withAddedOfOurKind } from './explorer-state';
import { QueryResult } from './QueryResult';

/** The editor of Perses, with what it has learnt after 0.52, whose types are used here. */
const QueriesEditor = MultiQueryEditor as ComponentType<
  MultiQueryEditorProps & { filteredQueryPlugins: string[]; onQueryRun: () => void }
>;

const queryPlugins = [QUERY_KIND];

interface QueryTabProps {
  queries: QueryDefinition[];
  /** Runs queries. */
  onRun: (queries: QueryDefinition[]) => void;
  view: 'table' | 'graph';
  /** See QueryResult. */
  liveRun?: number;
}

/** The queries and, below them, their results. */
export function QueryTab({ queries, onRun, view, liveRun }: QueryTabProps): ReactElement {
  const [drafts, setDrafts] = useState(queries);
  useEffect(() => {
    setDrafts(queries);
  }, [queries]);
  const asked = useMemo(() => askable(queries), [queries]);
  return (
    <Stack gap={1}>
      <QueryModeContext.Provider value={view === 'table' ? 'instant' : 'range'}>
        <div>
          <QueriesEditor
            queryTypes={['TimeSeriesQuery']}
            filteredQueryPlugins={queryPlugins}
            queries={drafts}
            onChange={(reported) => {
              const next = withAddedOfOurKind(drafts, reported);
              setDrafts(next);
              // A query that is removed is gone at once, and one that is added has nothing to ask yet, in any release.
              if (next.length < drafts.length || (next.length === drafts.length && !reportsAreDrafts)) {
                onRun(next);
              }
            }}
            onQueryRun={() => {
              onRun(drafts);
            }}
          />
        </div>
      </QueryModeContext.Provider>
      {asked.length === 0 ? (
        <Typography color="text.secondary">Write a PromQL expression and run it.</Typography>
      ) : (
        <QueryResult queries={asked} view={view} liveRun={liveRun} />
      )}
    </Stack>
  );
}
