import { Box } from '@mui/material';
import { useAllVariableValues, useDatasourceStore } from '@perses-dev/plugin-system';
import { useQuery } from '@tanstack/react-query';
import BellIcon from 'mdi-material-ui/BellOutline';
import type { ReactElement } from 'react';
import { useMemo } from 'react';
import { messageOf, StatusLine } from '../../components/StatusLine';
import { SETTLED_AFTER_MS, useSettled } from '../../components/use-settled';
import type {
  AlertThreshold,
  AlertThresholds,
  TieredPrometheusAlertThresholdQuerySpec,
} from '../../model/alert-thresholds';
import { formatSeconds, skippedText, thresholdParameters } from '../../model/alert-thresholds';
import { matcherMistake } from '../../model/validate';
import { findThresholds } from './get-time-series-data';

/** The most thresholds, and the most rules without one, that are listed. */
const MAX_LISTED = 5;

/** Lines that say which thresholds a query draws, and which rules have none. They follow what is edited. */
export function FoundThresholds({ spec }: { spec: TieredPrometheusAlertThresholdQuerySpec }): ReactElement {
  const { datasource, alerts, matchers, metric } = spec;
  const datasourceStore = useDatasourceStore();
  const variableState = useAllVariableValues();
  const isWrong = matchers?.some((each) => matcherMistake(each) !== undefined) ?? false;
  // A new object for every change of what the request depends on.
  const key = isWrong ? undefined : keyOf({ alerts, matchers, metric }, variableState);
  const request = useMemo(
    () => (key === undefined ? undefined : { spec: { datasource, alerts, matchers, metric }, key }),
    [datasource, alerts, matchers, metric, key]
  );
  const asked = useSettled(request, SETTLED_AFTER_MS);
  const { data, error } = useQuery({
    queryKey: ['TieredPrometheusAlertThresholds', asked],
    queryFn: async ({ signal }) =>
      asked === undefined
        ? null
        : ((await findThresholds(asked.spec, { datasourceStore, variableState }, signal)) ?? null),
    enabled: asked !== undefined,
    keepPreviousData: true,
    retry: false,
    refetchOnWindowFocus: false,
  });
  return (
    <Box role="status" aria-live="polite" aria-label="Thresholds of this query" sx={{ minHeight: 24 }}>
      {isWrong ? (
        <StatusLine isWarning>Correct the label matchers to see the thresholds.</StatusLine>
      ) : error !== null ? (
        <StatusLine isWarning>The thresholds are not known: {messageOf(error)}</StatusLine>
      ) : data === undefined ? (
        <StatusLine icon={BellIcon}>Asking the gateway for thresholds…</StatusLine>
      ) : (
        <Found found={data ?? { thresholds: [], skipped: [] }} />
      )}
    </Box>
  );
}

function Found({ found: { thresholds, skipped } }: { found: AlertThresholds }): ReactElement {
  const more = (count: number): string => (count > MAX_LISTED ? `and ${String(count - MAX_LISTED)} more` : '');
  return (
    <>
      {thresholds.length + skipped.length === 0 && <StatusLine icon={BellIcon}>No alerting rule matches.</StatusLine>}
      {thresholds.slice(0, MAX_LISTED).map((threshold, index) => (
        // Two groups may have the same rule.
        <StatusLine key={index} icon={BellIcon}>
          {threshold.title} ({detailsOf(threshold)})
        </StatusLine>
      ))}
      {thresholds.length > MAX_LISTED && <StatusLine icon={BellIcon}>{more(thresholds.length)}</StatusLine>}
      {skipped.slice(0, MAX_LISTED).map((rule, index) => (
        <StatusLine key={index} isWarning>
          {skippedText(rule, thresholds)}
        </StatusLine>
      ))}
      {skipped.length > MAX_LISTED && <StatusLine isWarning>{more(skipped.length)}</StatusLine>}
    </>
  );
}

/** What is worth knowing of a threshold, such as: group web, for 5m, severity critical, firing. */
function detailsOf({ group, for: pendingFor = 0, labels = {}, state }: AlertThreshold): string {
  return [
    `group ${group}`,
    ...(pendingFor > 0 ? [`for ${formatSeconds(pendingFor)}`] : []),
    ...('severity' in labels ? [`severity ${labels.severity}`] : []),
    ...(state === undefined ? [] : [state]),
  ].join(', ');
}

/** What a request depends on besides the datasource, as a text. */
function keyOf(
  spec: Pick<TieredPrometheusAlertThresholdQuerySpec, 'alerts' | 'matchers' | 'metric'>,
  variables: Parameters<typeof thresholdParameters>[1]
): string {
  try {
    return JSON.stringify(thresholdParameters(spec, variables) ?? 'none');
  } catch (error) {
    return messageOf(error); // The request fails with it.
  }
}
