import { Alert, AlertTitle, Box, Button, CircularProgress, Stack } from '@mui/material';
import type { ReactElement } from 'react';
import { useEffect, useRef, useState } from 'react';
import { Section } from '../../components/Section';
import type { CheckReport, Place } from '../../model/check';
import { checkDatasource } from '../../model/check';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';
import { TierReportCard } from './TierReportCard';

/** What became of the last check, and the spec that was checked. */
type Outcome = { spec: TieredPrometheusDatasourceSpec } & (
  | { state: 'running' }
  | { state: 'answered'; report: CheckReport }
  | { state: 'failed'; message: string }
);

interface CheckPanelProps {
  spec: TieredPrometheusDatasourceSpec;
  /** Name of the datasource; undefined where the form does not tell it. */
  name?: string;
  /** Where the datasource belongs. */
  place: Place;
  /** Path of the API of Perses. */
  persesUrl: string;
  /** Why there can be no check yet. */
  hindrance?: string;
}

/** A button that lets the gateway check what stands in the form, saved or not, and its report on each tier. */
export function CheckPanel({ spec, name, place, persesUrl, hindrance }: CheckPanelProps): ReactElement {
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
  return (
    <Section
      title="Check"
      help="The gateway tries to reach both tiers with what stands in this form, before it is saved."
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

function Report({ report: { ok, mistakes, tiers } }: { report: CheckReport }): ReactElement {
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
      <Stack direction={{ xs: 'column', md: 'row' }} spacing={2} alignItems="stretch">
        {tiers.hot !== undefined && <TierReportCard title="Hot tier" report={tiers.hot} />}
        {tiers.cold !== undefined && <TierReportCard title="Cold tier" report={tiers.cold} />}
      </Stack>
    </>
  );
}
