import { Alert, Chip, CircularProgress, Stack, Typography } from '@mui/material';
import { useDataQueries } from '@perses-dev/plugin-system';
import AccessPoint from 'mdi-material-ui/AccessPoint';
import Fire from 'mdi-material-ui/Fire';
import Snowflake from 'mdi-material-ui/Snowflake';
import type { ReactElement } from 'react';
import { useContext } from 'react';
import { sourceText } from '../../model/answer';
import type { LiveConnection } from '../../model/live-query';
import type { AnswerSummary, LiveSummary } from './answer-summary';
import { summaryOf } from './answer-summary';
import { LiveStatesContext } from './LiveResults';

/** Says of every query of the surrounding DataQueriesProvider which tier answered, why, how fast and how much. */
export function AnswerStrip(): ReactElement | null {
  const { queryResults } = useDataQueries('TimeSeriesQuery');
  const liveStates = useContext(LiveStatesContext);
  if (queryResults.length === 0) {
    return null;
  }
  return (
    <Stack role="status" aria-label="What answered" gap={1} sx={{ py: 1 }}>
      {queryResults.map((result, index) => (
        <AnswerLine
          key={index}
          name={queryResults.length === 1 ? undefined : `#${String(index + 1)}`}
          summary={summaryOf(result, liveStates[index])}
        />
      ))}
    </Stack>
  );
}

/** One line on the answer to one query, and below it all that the gateway or the tier had to remark. */
function AnswerLine({ name, summary }: { name?: string; summary: AnswerSummary }): ReactElement {
  const { tier, source, reason, facts, warnings, infos, error, isFetching, live } = summary;
  return (
    <Stack gap={0.5}>
      <Stack direction="row" flexWrap="wrap" alignItems="center" columnGap={1.5} rowGap={0.5} sx={{ minHeight: 24 }}>
        {name !== undefined && <Typography variant="subtitle2">{name}</Typography>}
        {live !== undefined && <LiveChip connection={live.connection} />}
        {tier !== undefined && <TierChip tier={tier} />}
        {source !== undefined && (
          <Typography variant="body2" sx={{ fontFamily: 'monospace', overflowWrap: 'anywhere' }}>
            {sourceText(source)}
          </Typography>
        )}
        {reason !== undefined && (
          <Typography variant="body2" sx={{ fontFamily: 'monospace' }}>
            {reason}
          </Typography>
        )}
        {facts.map((fact) => (
          <Typography key={fact} variant="body2" color="text.secondary">
            {fact}
          </Typography>
        ))}
        {live !== undefined && <LiveFacts live={live} />}
        {isFetching && <CircularProgress size={16} aria-label="Waiting for the answer" />}
      </Stack>
      {error !== undefined && <Remark severity="error" text={error} />}
      {warnings.map((text) => (
        <Remark key={text} severity="warning" text={text} />
      ))}
      {infos.map((text) => (
        <Remark key={text} severity="info" text={text} />
      ))}
    </Stack>
  );
}

function Remark({ severity, text }: { severity: 'error' | 'warning' | 'info'; text: string }): ReactElement {
  return (
    <Alert severity={severity} sx={{ py: 0, overflowWrap: 'anywhere' }}>
      {text}
    </Alert>
  );
}

function LiveChip({ connection }: { connection: LiveConnection }): ReactElement {
  return (
    <Chip
      size="small"
      variant="outlined"
      color={connection === 'live' ? 'success' : connection === 'stopped' ? 'error' : 'default'}
      icon={<AccessPoint />}
      label={connection}
      sx={{ '& .MuiChip-label': { color: 'text.primary' } }}
    />
  );
}

/** What changes with every step. A screen reader does not announce it. */
function LiveFacts({ live: { facts } }: { live: LiveSummary }): ReactElement {
  return (
    <Stack direction="row" columnGap={1.5} aria-live="off">
      {facts.map((fact) => (
        <Typography key={fact} variant="body2" color="text.secondary">
          {fact}
        </Typography>
      ))}
    </Stack>
  );
}

function TierChip({ tier }: { tier: string }): ReactElement {
  const icon = tier === 'hot' ? <Fire /> : tier === 'cold' ? <Snowflake /> : undefined;
  return (
    <Chip
      size="small"
      variant="outlined"
      color={tier === 'hot' ? 'warning' : 'info'}
      icon={icon}
      label={tier}
      sx={{ '& .MuiChip-label': { color: 'text.primary' } }}
    />
  );
}
