import { Stack, Typography } from '@mui/material';
import type { ReactElement, ReactNode } from 'react';
import { useId } from 'react';

interface SectionProps {
  title: string;
  /** What the fields are for. */
  help?: string;
  /** Beside the title: a state, or what one can do with the fields as a whole. */
  aside?: ReactNode;
  children: ReactNode;
}

/** Fields of a form that belong together, below a title. */
export function Section({ title, help, aside, children }: SectionProps): ReactElement {
  const id = useId();
  return (
    <Stack component="section" spacing={2} aria-labelledby={id}>
      <div>
        <Stack direction="row" spacing={1} alignItems="center" flexWrap="wrap" useFlexGap>
          <Typography variant="h4" id={id}>
            {title}
          </Typography>
          {aside}
        </Stack>
        {help !== undefined && (
          <Typography variant="body2" color="text.secondary" sx={{ mt: 0.5 }}>
            {help}
          </Typography>
        )}
      </div>
      {children}
    </Stack>
  );
}
