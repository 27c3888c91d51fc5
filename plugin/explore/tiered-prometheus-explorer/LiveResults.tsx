import type { QueryDefinition } from '@perses-dev/core';
import type { DataQueriesContextType, QueryData } from '@perses-dev/plugin-system';
import { DataQueriesContext, useDataQueriesContext } from '@perses-dev/plugin-system';
import type { ReactElement, ReactNode } from 'react';
import { createContext, useEffect, useMemo, useRef } from 'react';
import type { LiveState } from '../../model/live-query';
import { useLive } from './use-live';

/** States of the live queries, in the order of the queries. Empty where nothing is live. */
export const LiveStatesContext = createContext<readonly LiveState[]>([]);

interface LiveResultsProps {
  queries: QueryDefinition[];
  view: 'table' | 'graph';
  width: number | undefined;
  /** See useLive. */
  run: number | undefined;
  children: ReactNode;
}

/**
 * Puts the data of live queries in place of those of the DataQueriesProvider around it, for everything inside. The panel
 * stays the same one when the switch is used: until the first data of the other kind are there, it shows what it has.
 */
export function LiveResults({ queries, view, width, run, children }: LiveResultsProps): ReactElement {
  const asked = useDataQueriesContext();
  const states = useLive({ queries, view, width, run });
  const isLive = run !== undefined;

  // What the asked queries have while nothing live is there. They have it for as long as they are not asked again.
  const before = isLive ? asked.queryResults : noResults;
  const data = queries.map((_, index) => states[index]?.data ?? before[index]?.data);
  const errors = queries.map((_, index) => errorOf(states[index], data[index]));
  // The chart draws anew when this value changes: only with new data, whatever else is rendered.
  const live = useStable(data, errors);
  const value = useMemo(() => (isLive ? liveContext(queries, live) : undefined), [isLive, queries, live]);

  // Once the switch is off, the last live data stay until the answer is there.
  const last = useRef<DataQueriesContextType>();
  useEffect(() => {
    if (value !== undefined) {
      last.current = value;
    } else if (!asked.isFetching) {
      last.current = undefined;
    }
  }, [value, asked.isFetching]);
  const held = asked.isFetching && last.current?.queryResults.length === queries.length ? last.current : undefined;
  return (
    <LiveStatesContext.Provider value={isLive ? states : noStates}>
      <DataQueriesContext.Provider value={value ?? held ?? asked}>{children}</DataQueriesContext.Provider>
    </LiveStatesContext.Provider>
  );
}

const noResults: QueryData[] = [];
const noStates: LiveState[] = [];

/** The error of a query that has nothing to show and will have nothing. */
function errorOf(state: LiveState | undefined, data: unknown): string | undefined {
  return data === undefined && state?.connection === 'stopped' ? state.error : undefined;
}

interface LiveData {
  data: QueryData['data'][];
  errors: (string | undefined)[];
}

/** Returns the same object while no item changes. */
function useStable(data: LiveData['data'], errors: LiveData['errors']): LiveData {
  const stable = useRef<LiveData>({ data, errors });
  const { current } = stable;
  const isSame = (a: unknown[], b: unknown[]): boolean =>
    a.length === b.length && a.every((each, at) => each === b[at]);
  if (!isSame(current.data, data) || !isSame(current.errors, errors)) {
    stable.current = { data, errors };
  }
  return stable.current;
}

function liveContext(queries: QueryDefinition[], { data, errors }: LiveData): DataQueriesContextType {
  const queryResults = queries.map((definition, index): QueryData => {
    const error = errors[index];
    const isWaiting = data[index] === undefined && error === undefined;
    return {
      definition,
      data: data[index],
      error: error === undefined ? null : new Error(error),
      isFetching: isWaiting,
      isLoading: isWaiting,
    };
  });
  const context = {
    queryResults,
    isFetching: queryResults.some(({ isFetching }) => isFetching),
    isLoading: queryResults.some(({ isLoading }) => isLoading),
    refetchAll: () => undefined,
    errors: queryResults.map(({ error }) => error),
    // Perses has these from 0.54 on; the types are those of 0.52.
    queryDefinitions: queries,
  };
  return context;
}
