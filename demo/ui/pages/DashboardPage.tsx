import { CircularProgress, Typography } from '@mui/material';
import { ErrorAlert, useSnackbar } from '@perses-dev/components';
import type { DashboardResource, EphemeralDashboardResource } from '@perses-dev/core';
import { ViewDashboard } from '@perses-dev/dashboards';
import { useListPluginMetadata } from '@perses-dev/plugin-system';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import type { ReactElement } from 'react';
import { useParams } from 'react-router-dom';
import { datasourceApi, getDashboard, updateDashboard } from '../api';

/** One dashboard: to look at, to edit and to save. */
export function DashboardPage(): ReactElement {
  const { project = '', name = '' } = useParams();
  const queryKey = ['dashboard', project, name];
  const queryClient = useQueryClient();
  const { successSnackbar, exceptionSnackbar } = useSnackbar();
  const { data, error } = useQuery<DashboardResource, Error>({
    queryKey,
    queryFn: () => getDashboard(project, name),
  });
  // A panel editor that opens before the plugins are known stays without a type of panel.
  const panels = useListPluginMetadata(['Panel']);

  const save = async (dashboard: DashboardResource | EphemeralDashboardResource): Promise<void> => {
    if (dashboard.kind !== 'Dashboard') {
      throw new Error('Only dashboards are edited here.');
    }
    try {
      await updateDashboard(dashboard);
    } catch (reason) {
      exceptionSnackbar(reason);
      throw reason;
    }
    successSnackbar(`Dashboard ${dashboard.metadata.name} is saved`);
    await queryClient.invalidateQueries({ queryKey });
  };

  const failure = error ?? panels.error;
  if (failure !== null) {
    return <ErrorAlert error={failure as Error} />;
  }
  if (data === undefined || panels.data === undefined) {
    return <CircularProgress aria-label="The dashboard is loading" sx={{ margin: 4 }} />;
  }
  return (
    <ViewDashboard
      key={`${project}/${name}`}
      dashboardResource={data}
      datasourceApi={datasourceApi}
      dashboardTitleComponent={<Typography variant="h1">{data.spec.display?.name ?? name}</Typography>}
      isReadonly={false}
      isVariableEnabled
      isDatasourceEnabled
      onSave={save}
    />
  );
}
