import { Box, Stack, Typography } from '@mui/material';
import type { TimeSeriesQueryContext, VariableState } from '@perses-dev/plugin-system';
import { useAllVariableValues, useDatasourceStore, useSuggestedStepMs, useTimeRange } from '@perses-dev/plugin-system';
import { useQuery } from '@tanstack/react-query';
import AlertIcon from 'mdi-material-ui/AlertOutline';
import RouteIcon from 'mdi-material-ui/CallSplit';
import type { ReactElement, ReactNode } from 'react';
import { useContext, useEffect, useMemo, useState } from 'react';
import { sourceText } from '../../model/answer';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { explainTimeSeriesQuery } from './get-time-series-data';
import { QueryModeContext } from './query-mode';
import { variablesOf } from './variables';

/** How long nothing must change before the gateway is asked, in milliseconds. */
const SETTLED_AFTER_MS = 400;

interface ExplainLineProps {
  spec: TieredPrometheusTimeSeriesQuerySpec;
  /** Width of the panel, in pixels, from which Perses derives the step. Undefined until it is known: then nobody is asked. */
  width: number | undefined;
}

/**
 * One line that says which tier would answer a query for the current time range, and why: the gateway's own decision. It
 * asks again when the query, a variable or the time range changes, and gives up the request before.
 */
export function ExplainLine({ spec, width }: ExplainLineProps): ReactElement {
  const { query, datasource, minStep, resolution, instant, tier } = spec;
  const { context, dependencies, isReady } = useQueryContext(spec, width);
  const request = useMemo(
    () => (isReady ? { spec: { query, datasource, minStep, resolution, instant, tier }, dependencies } : undefined),
    [query, datasource, minStep, resolution, instant, tier, dependencies, isReady]
  );
  const asked = useSettled(request, SETTLED_AFTER_MS);
  const isEmpty = query.trim() === '';
  const { data, error } = useQuery({
    queryKey: ['TieredPrometheusExplanation', asked],
    queryFn: ({ signal }) => (asked === undefined ? undefined : explainTimeSeriesQuery(asked.spec, context, signal)),
    enabled: asked !== undefined && asked.spec.query.trim() !== '',
    keepPreviousData: true,
    retry: false,
    refetchOnWindowFocus: false,
  });
  return (
    <Box role="status" aria-live="polite" aria-label="Where this query goes" sx={{ minHeight: 24 }}>
      {isEmpty ? (
        <Line>Which tier answers is shown here once there is a query.</Line>
      ) : error !== null ? (
        <Line>Where this query goes is not known: {messageOf(error)}</Line>
      ) : data === undefined ? (
        <Line>Asking the gateway where this query goes…</Line>
      ) : (
        <>
          <Line>
            {data.sentence}
            {data.source !== undefined && ` (source: ${sourceText(data.source)})`}
          </Line>
          {data.warnings?.map((warning) => (
            <Line key={warning} isWarning>
              {warning}
            </Line>
          ))}
        </>
      )}
    </Box>
  );
}

function Line({ isWarning = false, children }: { isWarning?: boolean; children: ReactNode }): ReactElement {
  const Icon = isWarning ? AlertIcon : RouteIcon;
  return (
    <Stack direction="row" spacing={1} sx={{ color: isWarning ? 'warning.main' : 'text.secondary' }}>
      <Icon fontSize="small" aria-hidden />
      <Typography variant="body2" color={isWarning ? 'text.primary' : 'inherit'} sx={{ overflowWrap: 'anywhere' }}>
        {children}
      </Typography>
    </Stack>
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The context that Perses would run a query in, and what of it the request depends on. */
function useQueryContext(
  spec: TieredPrometheusTimeSeriesQuerySpec,
  width: number | undefined
): { context: TimeSeriesQueryContext; dependencies: object; isReady: boolean } {
  const { absoluteTimeRange: timeRange, refreshKey } = useTimeRange();
  const datasourceStore = useDatasourceStore();
  const variableState = useAllVariableValues();
  const suggestedStepMs = useSuggestedStepMs(width);
  const mode = useContext(QueryModeContext);
  const context = { mode, timeRange, variableState, datasourceStore, refreshKey, suggestedStepMs };
  // Not every name in a text need be that of a variable.
  const variables = variablesOf(spec, variableState).map((name): VariableState | undefined => variableState[name]);
  const values = JSON.stringify(variables.map((variable) => variable?.value));
  const [start, end] = [timeRange.start.getTime(), timeRange.end.getTime()];
  const dependencies = useMemo(
    () => ({ mode, start, end, suggestedStepMs, values }),
    [mode, start, end, suggestedStepMs, values]
  );
  return { context, dependencies, isReady: width !== undefined && !variables.some((variable) => variable?.loading) };
}

/** Returns the first value there is, and each later one once it has not changed for a while. */
function useSettled<Value>(value: Value | undefined, afterMs: number): Value | undefined {
  const [settled, setSettled] = useState(value);
  if (settled === undefined && value !== undefined) {
    setSettled(value);
  }
  useEffect(() => {
    const timer = setTimeout(() => {
      setSettled(value);
    }, afterMs);
    return () => {
      clearTimeout(timer);
    };
  }, [value, afterMs]);
  return settled;
}
