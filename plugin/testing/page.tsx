import type { TimeRangeValue } from '@perses-dev/core';
import type { DatasourceStore, PluginLoader } from '@perses-dev/plugin-system';
import {
  BuiltinVariableContext,
  DatasourceStoreContext,
  PluginRegistry,
  TimeRangeProvider,
  ValidationProvider,
  VariableContext,
} from '@perses-dev/plugin-system';
import { ChartsProvider, testChartsTheme } from '@perses-dev/components';
import { ExplorerManagerProviderWithQueryParams } from '@perses-dev/explore';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { act, screen } from '@testing-library/react';
import type { ReactElement, ReactNode } from 'react';
import { useState } from 'react';
import { MemoryRouter } from 'react-router-dom';
import { QueryParamProvider } from 'use-query-params';
import { ReactRouter6Adapter } from 'use-query-params/adapters/react-router-6';
import { createClient } from '../model/client';
import { DATASOURCE_KIND } from '../model/spec';

/** A plugin as Perses loads it: its type, its name, and what its module exports under this name. */
export interface LoadedPlugin {
  type: 'Variable' | 'TimeSeriesQuery' | 'Panel';
  name: string;
  plugin: unknown;
}

interface PageProps {
  /** URL of the server that datasources are reached at. */
  url: string;
  plugins?: LoadedPlugin[];
  /** Address that the page begins with. */
  address?: string;
  /** Time range that the page begins with. */
  timeRange?: TimeRangeValue;
  children: ReactNode;
}

/** Datasources of our kind: the default one, and one by the name of other. Their clients ask `${url}/NAME`. */
function storeOf(url: string): DatasourceStore {
  return {
    getDatasource: () => Promise.resolve({ plugin: { kind: DATASOURCE_KIND, spec: {} } }),
    getDatasourceClient: ({ name = 'default' }: { name?: string }) =>
      Promise.resolve(createClient({} as never, { proxyUrl: `${url}/${name}` })),
    listDatasourceSelectItems: () =>
      Promise.resolve([
        { group: 'Default', items: [{ name: 'Default (metrics)', selector: { kind: DATASOURCE_KIND } }] },
        {
          group: 'global',
          items: [{ name: 'other', selector: { kind: DATASOURCE_KIND, name: 'other', group: 'global' } }],
        },
      ]),
  } as unknown as DatasourceStore;
}

function loaderOf(plugins: LoadedPlugin[]): PluginLoader {
  return {
    getInstalledPlugins: () =>
      Promise.resolve([
        {
          kind: 'PluginModule',
          metadata: { name: 'Test', version: '0.0.1' },
          spec: { plugins: plugins.map(({ type, name }) => ({ kind: type, spec: { name, display: { name } } })) },
        },
      ]),
    importPluginModule: () => Promise.resolve(Object.fromEntries(plugins.map(({ name, plugin }) => [name, plugin]))),
  };
}

const fiveMinutes = { start: new Date(1_800_000_000_000), end: new Date(1_800_000_300_000) };

/** What the pages of Perses have around the components of plugins. */
export function TestPage({
  url,
  plugins = [],
  address = '/',
  timeRange = fiveMinutes,
  children,
}: PageProps): ReactElement {
  const [queryClient] = useState(
    () =>
      new QueryClient({
        defaultOptions: { queries: { retry: false } },
        // Errors are shown on the page; the console would also tell of requests that outlive the page.
        logger: { ...console, error: () => undefined },
      })
  );
  const [store] = useState(() => storeOf(url));
  const [loader] = useState(() => loaderOf(plugins));
  return (
    <MemoryRouter initialEntries={[address]}>
      <QueryParamProvider adapter={ReactRouter6Adapter}>
        <QueryClientProvider client={queryClient}>
          <ChartsProvider chartsTheme={testChartsTheme}>
            <PluginRegistry
              pluginLoader={loader}
              // As in Perses, where the Prometheus plugin is the default.
              defaultPluginKinds={{ TimeSeriesQuery: 'PrometheusTimeSeriesQuery' }}
            >
              <ValidationProvider>
                <DatasourceStoreContext.Provider value={store}>
                  <TimeRangeProvider timeRange={timeRange}>
                    <VariableContext.Provider value={{ state: {} }}>
                      <BuiltinVariableContext.Provider value={{ variables: [] }}>
                        <ExplorerManagerProviderWithQueryParams>{children}</ExplorerManagerProviderWithQueryParams>
                      </BuiltinVariableContext.Provider>
                    </VariableContext.Provider>
                  </TimeRangeProvider>
                </DatasourceStoreContext.Provider>
              </ValidationProvider>
            </PluginRegistry>
          </ChartsProvider>
        </QueryClientProvider>
      </QueryParamProvider>
    </MemoryRouter>
  );
}

/** Writes into the PromQL editor, as far as jsdom lets one. */
export async function writeExpression(
  text: string,
  editor = screen.getByLabelText('PromQL Expression')
): Promise<void> {
  const { EditorView } = await import('@codemirror/view');
  const view = EditorView.findFromDOM(editor);
  act(() => {
    view?.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
  });
}
