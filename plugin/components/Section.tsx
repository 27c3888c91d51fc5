import { Stack, Typography } from '@mui/material';
import type { ReactElement, ReactNode } from 'react';
import { useId } from 'react';

interface SectionProps {
  title: string;
  /** What the fields are for. */
  help?: string;
  children: ReactNode;
}

/** Fields of a form that belong together, below a title. */
export function Section({ title, help, children }: SectionProps): ReactElement {
  const id = useId();
  return (
    <Stack component="section" spacing={2} aria-labelledby={id}>
      <div>
        <Typography variant="h4" id={id}>
          {title}
        </Typography>
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
