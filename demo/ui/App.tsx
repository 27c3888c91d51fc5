import { ErrorAlert, ErrorBoundary, SnackbarProvider } from '@perses-dev/components';
import { PluginRegistry, ReactRouterProvider, remotePluginLoader, ValidationProvider } from '@perses-dev/plugin-system';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import type { ReactElement } from 'react';
import { Navigate, Route, Routes } from 'react-router-dom';
import { QueryParamProvider } from 'use-query-params';
import { ReactRouter6Adapter } from 'use-query-params/adapters/react-router-6';
import { Frame } from './Frame';
import { DashboardPage } from './pages/DashboardPage';
import { DashboardsPage } from './pages/DashboardsPage';
import { DatasourcesPage } from './pages/DatasourcesPage';
import { ExplorePage } from './pages/ExplorePage';
import { Theme } from './theme';

const queryClient = new QueryClient({ defaultOptions: { queries: { refetchOnWindowFocus: false, retry: false } } });
const pluginLoader = remotePluginLoader();
const defaultPluginKinds = { Panel: 'TimeSeriesChart', TimeSeriesQuery: 'TieredPrometheusTimeSeriesQuery' };

/**
 * A small host for the plugins of a Perses server: dashboards, Explore and datasources. Its paths are those of the web UI
 * of Perses, to which its components link.
 */
export function App(): ReactElement {
  return (
    <QueryClientProvider client={queryClient}>
      <QueryParamProvider adapter={ReactRouter6Adapter}>
        <Theme>
          <SnackbarProvider anchorOrigin={{ vertical: 'bottom', horizontal: 'left' }}>
            <PluginRegistry pluginLoader={pluginLoader} defaultPluginKinds={defaultPluginKinds}>
              <ValidationProvider>
                <ReactRouterProvider>
                  <Frame>
                    <ErrorBoundary FallbackComponent={ErrorAlert}>
                      <Routes>
                        <Route path="/dashboards" element={<DashboardsPage />} />
                        <Route path="/projects/:project/dashboards/:name" element={<DashboardPage />} />
                        <Route path="/explore" element={<ExplorePage />} />
                        <Route path="/admin/datasources" element={<DatasourcesPage />} />
                        <Route path="/projects/:project/datasources" element={<DatasourcesPage />} />
                        <Route path="*" element={<Navigate to="/dashboards" replace />} />
                      </Routes>
                    </ErrorBoundary>
                  </Frame>
                </ReactRouterProvider>
              </ValidationProvider>
            </PluginRegistry>
          </SnackbarProvider>
        </Theme>
      </QueryParamProvider>
    </QueryClientProvider>
  );
}
