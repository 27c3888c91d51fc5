import { Box } from '@mui/material';
import type { TimeSeriesQueryContext, VariableState } from '@perses-dev/plugin-system';
import { useAllVariableValues, useDatasourceStore, useSuggestedStepMs, useTimeRange } from '@perses-dev/plugin-system';
import { useQuery } from '@tanstack/react-query';
import type { ReactElement } from 'react';
import { useContext, useMemo } from 'react';
import { messageOf, StatusLine } from '../../components/StatusLine';
import { SETTLED_AFTER_MS, useSettled } from '../../components/use-settled';
import { sourceText } from '../../model/answer';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { explainTimeSeriesQuery } from './get-time-series-data';
import { QueryModeContext } from './query-mode';
import { variablesOf } from './variables';

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
        <StatusLine>Which tier answers is shown here once there is a query.</StatusLine>
      ) : error !== null ? (
        <StatusLine>Where this query goes is not known: {messageOf(error)}</StatusLine>
      ) : data === undefined ? (
        <StatusLine>Asking the gateway where this query goes…</StatusLine>
      ) : (
        <>
          <StatusLine>
            {data.sentence}
            {data.source !== undefined && ` (source: ${sourceText(data.source)})`}
          </StatusLine>
          {data.warnings?.map((warning) => (
            <StatusLine key={warning} isWarning>
              {warning}
            </StatusLine>
          ))}
        </>
      )}
    </Box>
  );
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
