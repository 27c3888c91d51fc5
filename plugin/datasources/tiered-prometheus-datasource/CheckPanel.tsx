import { Alert, AlertTitle, Box, Button, CircularProgress, Stack } from '@mui/material';
import type { ReactElement } from 'react';
import { useEffect, useRef, useState } from 'react';
import { Section } from '../../components/Section';
import type { CheckReport, Place } from '../../model/check';
import { checkDatasource, reportsOnHotTier } from '../../model/check';
import type { HotTier, TieredPrometheusDatasourceSpec } from '../../model/spec';
import { hotTiersOf } from '../../model/spec';
import { TierReportCard, TierStateChip } from './TierReportCard';

/** What became of the last check, and the spec that was checked. */
type Outcome = { spec: TieredPrometheusDatasourceSpec } & (
  | { state: 'running' }
  | { state: 'answered'; report: CheckReport }
  | { state: 'failed'; message: string }
);

/** Where the spec in the form belongs, and who checks it. */
interface Checked {
  spec: TieredPrometheusDatasourceSpec;
  /** Name of the datasource; undefined where the form does not tell it. */
  name?: string;
  /** Where the datasource belongs. */
  place: Place;
  /** Path of the API of Perses. */
  persesUrl: string;
}

/** The check of what stands in a form, saved or not. */
export interface Check {
  outcome?: Outcome;
  run: () => Promise<void>;
}

/** Lets the gateway check a spec on demand. */
export function useCheck({ spec, name, place, persesUrl }: Checked): Check {
  const [outcome, setOutcome] = useState<Outcome>();
  const running = useRef<AbortController | null>(null);
  useEffect(
    () => () => {
      running.current?.abort();
    },
    []
  );
  const run = async (): Promise<void> => {
    running.current?.abort();
    const { signal } = (running.current = new AbortController());
    setOutcome({ spec, state: 'running' });
    let next: Outcome;
    try {
      next = {
        spec,
        state: 'answered',
        report: await checkDatasource(persesUrl, { ...place, name }, spec, { signal }),
      };
    } catch (error) {
      next = { spec, state: 'failed', message: error instanceof Error ? error.message : String(error) };
    }
    if (!signal.aborted) {
      setOutcome(next);
    }
  };
  return { outcome, run };
}

/** The state of a hot tier in the last check, if the tier has not changed since. */
export function HotTierState({ check: { outcome }, tier }: { check: Check; tier: HotTier | undefined }): ReactElement {
  if (outcome?.state !== 'answered') {
    return <></>;
  }
  const checked = hotTiersOf(outcome.spec);
  // The form copies what it holds, and a field that is emptied leaves no trace.
  const index = checked.findIndex((each) => JSON.stringify(each) === JSON.stringify(tier));
  if (index < 0 && (tier !== undefined || checked.length > 0)) {
    return <></>;
  }
  const states = new Set(reportsOnHotTier(outcome.report, checked, Math.max(index, 0)).map(({ state }) => state));
  return (
    <>
      {[...states].map((state) => (
        <TierStateChip key={state} state={state} />
      ))}
    </>
  );
}

interface CheckPanelProps {
  spec: TieredPrometheusDatasourceSpec;
  check: Check;
  /** Why there can be no check yet. */
  hindrance?: string;
}

/** A button that lets the gateway check what stands in the form, and its report on each tier. */
export function CheckPanel({ spec, check: { outcome, run }, hindrance }: CheckPanelProps): ReactElement {
  return (
    <Section
      title="Check"
      help="The gateway tries to reach all tiers with what stands in this form, before it is saved."
    >
      <Stack direction="row" spacing={2} alignItems="center">
        <Button variant="outlined" disabled={hindrance !== undefined} onClick={() => void run()}>
          Check
        </Button>
        {outcome?.state === 'running' && <CircularProgress size={20} aria-label="Checking" />}
        {hindrance !== undefined && <Box sx={{ color: 'text.secondary' }}>{hindrance}</Box>}
      </Stack>
      <Stack spacing={2} role="status" aria-live="polite">
        {outcome !== undefined && outcome.spec !== spec && (
          <Alert severity="info">The form has changed since this check.</Alert>
        )}
        {outcome?.state === 'failed' && (
          <Alert severity="error">
            <AlertTitle>The gateway could not be asked</AlertTitle>
            {outcome.message}
          </Alert>
        )}
        {outcome?.state === 'answered' && <Report report={outcome.report} />}
      </Stack>
    </Section>
  );
}

function Report({ report: { ok, mistakes, tiers, hot_tiers = [] } }: { report: CheckReport }): ReactElement {
  return (
    <>
      {ok ? (
        <Alert severity="success">This datasource works.</Alert>
      ) : (
        <Alert severity="error">
          <AlertTitle>This datasource does not work as it is</AlertTitle>
          {mistakes.length === 0 ? (
            'The reports on the tiers say why.'
          ) : (
            <Box component="ul" sx={{ m: 0, pl: 2 }}>
              {mistakes.map(({ field, message }) => (
                <li key={`${field} ${message}`}>
                  <code>{field}</code>: {message}
                </li>
              ))}
            </Box>
          )}
        </Alert>
      )}
      {hot_tiers.length > 0 && tiers.hot?.message !== undefined && <div>{tiers.hot.message}</div>}
      {hot_tiers.map((report, index) => (
        <TierReportCard
          // Two tiers may have the same name where the gateway could not find out more.
          key={index}
          title={`Hot tier ${report.name}`}
          report={report}
        />
      ))}
      <Stack direction={{ xs: 'column', md: 'row' }} spacing={2} alignItems="stretch">
        {tiers.hot !== undefined && hot_tiers.length === 0 && <TierReportCard title="Hot tier" report={tiers.hot} />}
        {tiers.cold !== undefined && <TierReportCard title="Cold tier" report={tiers.cold} />}
      </Stack>
    </>
  );
}
