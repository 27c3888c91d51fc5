import { Typography } from '@mui/material';
import { ViewExplore } from '@perses-dev/explore';
import type { ReactElement } from 'react';
import { datasourceApi } from '../api';

/** Explore, with the explorers of all loaded plugins. */
export function ExplorePage(): ReactElement {
  return (
    <ViewExplore
      datasourceApi={datasourceApi}
      exploreTitleComponent={
        <Typography variant="h1" sx={{ alignSelf: 'center' }}>
          Explore
        </Typography>
      }
    />
  );
}
