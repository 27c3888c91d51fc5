import { Card, CardContent, Chip, Stack, Typography } from '@mui/material';
import { formatDistanceToNow } from 'date-fns';
import type { ReactElement, ReactNode } from 'react';
import { formatDuration } from '../../model/answer';
import type { TierReport } from '../../model/check';

const stateTexts: Readonly<Record<string, string>> = {
  ok: 'reachable',
  'name-not-found': 'name not found',
  refused: 'connection refused',
  tls: 'TLS failed',
  timeout: 'timed out',
  'denied-by-policy': 'denied by policy',
  unauthorized: 'not authorised',
  'not-prometheus': 'not Prometheus',
  closed: 'connection closed',
  unreachable: 'unreachable',
  'service-unresolved': 'service not found',
  unusable: 'not usable',
  none: 'no such tier',
};

const sourceTexts: Readonly<Record<TierReport['source'], string>> = {
  datasource: 'named by this datasource',
  gateway: 'from the gateway',
  none: 'named by nobody',
};

/** The state of a tier in two or three words. */
export function TierStateChip({ state }: Pick<TierReport, 'state'>): ReactElement {
  return (
    <Chip
      size="small"
      label={stateTexts[state] ?? state}
      color={state === 'ok' ? 'success' : state === 'none' ? 'default' : 'error'}
    />
  );
}

/** What the gateway found when it asked a tier. */
export function TierReportCard({ title, report }: { title: string; report: TierReport }): ReactElement {
  const {
    state,
    source,
    message,
    address,
    kind,
    version,
    oldest_sample,
    coverage_start,
    external_labels,
    latency_seconds,
  } = report;
  // Of some reasons, the message is the same.
  const texts = [message, report.unused === message ? undefined : report.unused, report.remedy];
  return (
    <Card variant="outlined" component="section" aria-label={`${title}: report`} sx={{ flex: 1, minWidth: 0 }}>
      <CardContent>
        <Stack direction="row" spacing={1} alignItems="center" flexWrap="wrap" useFlexGap sx={{ mb: 1 }}>
          <Typography variant="h4" component="h5">
            {title}
          </Typography>
          <TierStateChip state={state} />
          {report.unused !== undefined && <Chip size="small" label="gets no queries" color="warning" />}
          <Typography variant="body2" color="text.secondary">
            {sourceTexts[source]}
          </Typography>
        </Stack>
        {texts
          .filter((text) => text !== undefined)
          .map((text) => (
            <Typography key={text} variant="body2" sx={{ mb: 1, overflowWrap: 'anywhere' }}>
              {text}
            </Typography>
          ))}
        <Stack component="dl" spacing={0.5} sx={{ m: 0 }}>
          <Row name="Address">{address}</Row>
          <Row name="Kind">{kind}</Row>
          <Row name="Version">{version}</Row>
          <Row name="Oldest sample">{oldest_sample === undefined ? undefined : formatTime(oldest_sample)}</Row>
          <Row name="Asked from">{coverage_start === undefined ? undefined : formatTime(coverage_start)}</Row>
          <Row name="External labels">{external_labels === undefined ? undefined : formatLabels(external_labels)}</Row>
          <Row name="Answered in">
            {latency_seconds === undefined ? undefined : formatDuration(latency_seconds * 1000)}
          </Row>
        </Stack>
      </CardContent>
    </Card>
  );
}

/** A row of the report; nothing where the gateway does not know. */
function Row({ name, children }: { name: string; children: ReactNode }): ReactElement | null {
  return children === undefined ? null : (
    <Stack direction="row" spacing={1}>
      <Typography component="dt" variant="body2" color="text.secondary" sx={{ flex: '0 0 112px' }}>
        {name}
      </Typography>
      <Typography component="dd" variant="body2" sx={{ m: 0, minWidth: 0, overflowWrap: 'anywhere' }}>
        {children}
      </Typography>
    </Stack>
  );
}

function formatTime(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime())
    ? time
    : `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC, ${formatDistanceToNow(date, { addSuffix: true })}`;
}

function formatLabels(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  return pairs.length === 0 ? 'none' : pairs.join(', ');
}
