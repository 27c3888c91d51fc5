import type { TimeSeriesData } from '@perses-dev/core';
import type { PanelProps } from '@perses-dev/plugin-system';
import { render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import type { ReactElement } from 'react';
import { useLocation } from 'react-router-dom';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TieredPrometheusTimeSeriesQuery } from '../../queries/tiered-prometheus-time-series-query/TieredPrometheusTimeSeriesQuery';
import type { Seen, TestServer } from '../../testing/gateway';
import { startServer } from '../../testing/gateway';
import type { LoadedPlugin } from '../../testing/page';
import { TestPage, writeExpression } from '../../testing/page';
import type { ExplorerState } from './explorer-state';
import { queryOf } from './explorer-state';
import { TieredPrometheusExplorer } from './TieredPrometheusExplorer';

/** Draws series as a list of what their label says. */
function panel(name: string): LoadedPlugin {
  function PanelComponent({ queryResults }: PanelProps<object, TimeSeriesData>): ReactElement {
    return (
      <ul aria-label={name}>
        {queryResults
          .flatMap(({ data }) => data.series)
          .map(({ labels }, index) => (
            <li key={index}>{labels?.query}</li>
          ))}
      </ul>
    );
  }
  const plugin = { PanelComponent, supportedQueryTypes: ['TimeSeriesQuery'], createInitialOptions: () => ({}) };
  return { type: 'Panel', name, plugin };
}

const plugins: LoadedPlugin[] = [
  { type: 'TimeSeriesQuery', name: 'TieredPrometheusTimeSeriesQuery', plugin: TieredPrometheusTimeSeriesQuery },
  {
    type: 'TimeSeriesQuery',
    name: 'PrometheusTimeSeriesQuery',
    plugin: { ...TieredPrometheusTimeSeriesQuery, createInitialOptions: () => ({ query: '' }) },
  },
  panel('TimeSeriesTable'),
  panel('TimeSeriesChart'),
];

const metrics = ['http_requests_total', 'node_load1', 'up'];

/** The query that a request has; empty where it has none. */
function queryIn({ parameters }: Seen): string {
  return (parameters as Partial<Seen['parameters']>).query?.[0] ?? '';
}

/** Answers as a gateway does whose hot tier has everything but what fails. */
function answer(request: Seen): { status?: number; body: object } {
  const query = queryIn(request);
  if (query.startsWith('fail')) {
    return { status: 422, body: { status: 'error', errorType: 'execution', error: `${query} did not work` } };
  }
  const warnings = query.startsWith('warn') ? ['the first warning', 'the second warning'] : undefined;
  const metric = { query };
  const success = (data: unknown) => ({ body: { status: 'success', warnings, data } });
  switch (request.path.replace(/^\/\w+\/api\/v1\//, '')) {
    case 'query':
      return success({ resultType: 'vector', result: [{ metric, value: [1_800_000_300, '1'] }] });
    case 'query_range':
      return success({ resultType: 'matrix', result: [{ metric, values: [1, 2, 3].map((at) => [at, '1']) }] });
    case 'label/__name__/values':
      return success(metrics);
    case 'metadata':
      return success({ node_load1: [{ type: 'gauge', help: 'Load of the last minute.', unit: '' }] });
    case 'series':
      return success([{ __name__: 'http_requests_total', job: 'cart' }]);
    case 'datasources/explain':
      return success({ tier: 'hot', reason: 'below-threshold', sentence: 'hot answers' });
    default:
      return success([]);
  }
}

let server: TestServer;

beforeEach(async () => {
  localStorage.clear();
  server = await startServer((request, response) => {
    const { status = 200, body } = answer(request);
    response.statusCode = status;
    response.setHeader('X-Tier', 'hot');
    response.setHeader('X-Tier-Reason', 'below-threshold');
    response.setHeader('Server-Timing', 'upstream;dur=20.5;desc="hot", tierproxy;dur=0.7');
    response.end(JSON.stringify(body));
  });
});
afterEach(() => server.close());

/** What stands in the address of the page. */
let state: ExplorerState;

function Address(): null {
  const { search } = useLocation();
  state = JSON.parse(new URLSearchParams(search).get('data') ?? '{}') as ExplorerState;
  return null;
}

function open(initial: ExplorerState = {}) {
  render(
    <TestPage
      url={server.url}
      plugins={plugins}
      address={`/explore?${new URLSearchParams({ data: JSON.stringify(initial) }).toString()}`}
    >
      <TieredPrometheusExplorer />
      <Address />
    </TestPage>
  );
  return userEvent.setup({ delay: null });
}

const strip = () => screen.findByRole('status', { name: 'What answered' });
const queriesSent = () => server.seen.filter(({ path }) => /\/query(_range)?$/.test(path)).map(queryIn);

describe('the explorer', () => {
  it('begins with a query of our kind and asks nothing yet', async () => {
    open();
    expect(await screen.findByLabelText('PromQL Expression')).toBeDefined();
    expect(screen.getByText('Write a PromQL expression and run it.')).toBeDefined();
    expect(queriesSent()).toEqual([]);
  });

  it('runs what was written, and tells what answered', async () => {
    const user = open();
    await screen.findByLabelText('PromQL Expression');
    await writeExpression('up');
    await user.click(screen.getByTestId('run_query_button'));
    const line = await strip();
    for (const text of [
      'hot',
      'below-threshold',
      'the query reads less than the threshold at once',
      '21 ms',
      '1 series',
      '1 sample',
    ]) {
      expect(await within(line).findByText(text)).toBeDefined();
    }
    expect(await screen.findByText('up', { selector: '[aria-label=TimeSeriesTable] li' })).toBeDefined();
    expect(queriesSent()).toEqual(['up']);
    expect(state.queries).toEqual([queryOf('up')]);
  });

  it('runs a query again whose text is the same', async () => {
    const user = open({ queries: [queryOf('up')] });
    await strip();
    await user.click(await screen.findByTestId('run_query_button'));
    await waitFor(() => {
      expect(queriesSent()).toEqual(['up', 'up']);
    });
  });

  it('shows the queries of the table in the graph', async () => {
    const user = open({ queries: [queryOf('up')] });
    await user.click(screen.getByRole('tab', { name: 'Graph' }));
    expect(await screen.findByRole('list', { name: 'TimeSeriesChart' })).toBeDefined();
    expect(await within(await strip()).findByText('3 samples')).toBeDefined();
    expect(state).toEqual({ tab: 'graph', queries: [queryOf('up')] });
  });

  it.each([
    ['table', 'query'],
    ['graph', 'query_range'],
  ] as const)('says where a query goes as it runs in this tab: %s', async (tab, endpoint) => {
    open({ tab, queries: [queryOf('up')] });
    await waitFor(() => {
      const asked = server.seen.filter(({ path }) => path.endsWith('/explain'));
      expect(asked.map(({ parameters }) => parameters.endpoint)).toEqual([[endpoint]]);
    });
  });

  it('shows every warning, and the error of a query beside the answer to another', async () => {
    open({ tab: 'graph', queries: [queryOf('warned'), queryOf('fails')] });
    const line = await strip();
    await within(line).findByText('fails did not work');
    await within(line).findByText('the first warning');
    const alerts = within(line).getAllByRole('alert');
    expect(alerts.map(({ textContent }) => textContent)).toEqual([
      'the first warning',
      'the second warning',
      'fails did not work',
    ]);
    expect(
      within(line)
        .getAllByText(/^#/)
        .map(({ textContent }) => textContent)
    ).toEqual(['#1', '#2']);
    expect(await screen.findByText('warned', { selector: '[aria-label=TimeSeriesChart] li' })).toBeDefined();
  });

  it('shows no panel where there is nothing but an error', async () => {
    open({ queries: [queryOf('fails')] });
    expect(await within(await strip()).findByText('fails did not work')).toBeDefined();
    expect(screen.queryByTestId('panel')).toBeNull();
  });

  it('adds queries of our kind, although another one is the default of the page', async () => {
    const other = { kind: 'TieredPrometheusDatasource', name: 'other' } as const;
    const user = open({ queries: [queryOf('up', other)] });
    await user.click(await screen.findByRole('button', { name: 'Add Query' }));
    await waitFor(() => {
      expect(screen.getAllByLabelText('PromQL Expression')).toHaveLength(2);
    });
    await writeExpression('down', screen.getAllByLabelText('PromQL Expression')[1]);
    await user.click(screen.getAllByTestId('run_query_button')[1]);
    await waitFor(() => {
      expect(state.queries).toEqual([queryOf('up', other), queryOf('down', other)]);
    });
    await waitFor(() => {
      expect(server.seen.find((request) => queryIn(request) === 'down')?.path).toBe('/other/api/v1/query');
    });
    // The button that deletes a query has no name in Perses 0.52; it is the last one in the line of its title.
    const title = screen.getByRole('heading', { name: 'Query #1' }).parentElement as HTMLElement;
    await user.click(within(title).getAllByRole('button').at(-1) as HTMLElement);
    await waitFor(() => {
      expect(state.queries).toEqual([queryOf('down', other)]);
    });
  });
});

describe('the finder', () => {
  it('shows a metric, and takes it into a query', async () => {
    const user = open({ tab: 'finder', queries: [queryOf('up')], exploredMetric: 'http_requests_total' });
    const expression = 'rate(http_requests_total[$__rate_interval])';
    expect(await screen.findByText(expression)).toBeDefined();
    expect(await screen.findByText('cart')).toBeDefined();
    await user.click(screen.getByRole('button', { name: 'Query in graph' }));
    expect(await screen.findByRole('list', { name: 'TimeSeriesChart' })).toBeDefined();
    expect(state).toMatchObject({ tab: 'graph', queries: [queryOf(expression)] });
  });

  it('draws the metric where the settings say so, and remembers them', async () => {
    const user = open({ tab: 'finder', exploredMetric: 'node_load1' });
    expect(await screen.findByText('Load of the last minute.')).toBeDefined();
    expect(queriesSent()).toEqual([]);
    await user.click(screen.getByRole('button', { name: 'settings' }));
    await user.click(await screen.findByLabelText('Enable Time Series Chart'));
    expect(await screen.findByRole('list', { name: 'TimeSeriesChart' })).toBeDefined();
    expect(queriesSent()).toEqual(['node_load1']);
    expect(JSON.parse(localStorage.getItem('PERSES_METRICS_FINDER_SETTINGS') ?? '')).toEqual({
      isMetadataEnabled: true,
      isPanelEnabled: true,
    });
  });

  it('asks the datasource that is chosen, with the filters', async () => {
    const user = open({ tab: 'finder', exploredMetric: 'up' });
    await user.click(await screen.findByRole('combobox', { name: 'Tiered Prometheus Datasource' }));
    await user.click(await screen.findByRole('option', { name: /^other/ }));
    await waitFor(() => {
      expect(server.seen.map(({ path }) => path)).toContain('/other/api/v1/series');
    });
    await user.click(screen.getAllByRole('button', { name: /add filter/i })[0]);
    await user.type(await screen.findByRole('combobox', { name: 'Label Name' }), 'job');
    await user.type(screen.getByRole('combobox', { name: 'Label Value' }), 'cart');
    expect(await screen.findByText('up{job="cart"}')).toBeDefined();
    expect(state).toMatchObject({
      datasource: { kind: 'TieredPrometheusDatasource', name: 'other' },
      filters: [{ label: 'job', operator: '=', labelValues: ['cart'] }],
    });
  });

  it('goes back to all metrics, and keeps the queries of the other tabs', async () => {
    const user = open({ tab: 'finder', queries: [queryOf('up')], exploredMetric: 'node_load1' });
    await user.click(screen.getByRole('button', { name: 'All metrics' }));
    expect(await screen.findByTestId('finder-total')).toHaveProperty('textContent', 'Total: 3 metrics');
    await user.click(screen.getByRole('tab', { name: 'Table' }));
    await waitFor(() => {
      expect(queriesSent()).toEqual(['up']);
    });
  });
});
