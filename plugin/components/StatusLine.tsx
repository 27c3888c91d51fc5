import { Stack, Typography } from '@mui/material';
import AlertIcon from 'mdi-material-ui/AlertOutline';
import RouteIcon from 'mdi-material-ui/CallSplit';
import type { ElementType, ReactElement, ReactNode } from 'react';

interface StatusLineProps {
  isWarning?: boolean;
  /** Icon of a line that is no warning. */
  icon?: ElementType<{ fontSize: 'small' }>;
  children: ReactNode;
}

/** One line below the fields of a query: what the gateway says of it. */
export function StatusLine({ isWarning = false, icon = RouteIcon, children }: StatusLineProps): ReactElement {
  const Icon = isWarning ? AlertIcon : icon;
  return (
    <Stack direction="row" spacing={1} sx={{ color: isWarning ? 'warning.main' : 'text.secondary' }}>
      <Icon fontSize="small" aria-hidden />
      <Typography variant="body2" color={isWarning ? 'text.primary' : 'inherit'} sx={{ overflowWrap: 'anywhere' }}>
        {children}
      </Typography>
    </Stack>
  );
}

/** The message of an error, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
