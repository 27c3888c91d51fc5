import type { QueryDefinition, TimeRangeValue, TimeSeriesData } from '@perses-dev/core';
import type { PanelProps } from '@perses-dev/plugin-system';
import { useTimeRange } from '@perses-dev/plugin-system';
import { act, render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import type { ServerResponse } from 'node:http';
import type { ReactElement } from 'react';
import { useEffect } from 'react';
import { useLocation } from 'react-router-dom';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TieredPrometheusTimeSeriesQuery } from '../../queries/tiered-prometheus-time-series-query/TieredPrometheusTimeSeriesQuery';
import type { Seen, TestServer } from '../../testing/gateway';
import { startServer } from '../../testing/gateway';
import { beginStream, liveEvent, otherEvent } from '../../testing/live';
import type { LoadedPlugin } from '../../testing/page';
import { TestPage, writeExpression } from '../../testing/page';
import type { ExplorerState } from './explorer-state';
import { queryOf } from './explorer-state';
import { TieredPrometheusExplorer } from './TieredPrometheusExplorer';

/** How often the panel appeared, and how often it got other data. */
let panel: { mounts: number; draws: number };

/** Draws the values of series as text. */
function PanelComponent({ queryResults }: PanelProps<object, TimeSeriesData>): ReactElement {
  useEffect(() => {
    panel.mounts++;
  }, []);
  const texts = queryResults
    .flatMap(({ data }) => data.series)
    .map(
      ({ labels, values }) =>
        `${labels?.__name__ ?? ''}: ${values.map(([at, value]) => `${String(at / 1000)}=${String(value)}`).join(' ')}`
    );
  const drawn = texts.join('\n');
  useEffect(() => {
    panel.draws++;
  }, [drawn]);
  return <pre aria-label="Panel">{drawn}</pre>;
}

const plugins: LoadedPlugin[] = [
  { type: 'TimeSeriesQuery', name: 'TieredPrometheusTimeSeriesQuery', plugin: TieredPrometheusTimeSeriesQuery },
  {
    type: 'TimeSeriesQuery',
    name: 'PrometheusTimeSeriesQuery',
    plugin: { ...TieredPrometheusTimeSeriesQuery, createInitialOptions: () => ({ query: '' }) },
  },
  ...['TimeSeriesTable', 'TimeSeriesChart'].map((name): LoadedPlugin => {
    const plugin = { PanelComponent, supportedQueryTypes: ['TimeSeriesQuery'], createInitialOptions: () => ({}) };
    return { type: 'Panel', name, plugin };
  }),
];

/** A stream that the page reads. */
interface Stream {
  request: Seen;
  response: ServerResponse;
  isClosed: boolean;
}

let server: TestServer;
let streams: Stream[];
/** What a stream begins with. */
let begin: (response: ServerResponse) => void;

const result = (value: string, ...steps: number[]) => [
  { metric: { __name__: 'up' }, values: steps.map((at): [number, string] => [at, value]) },
];
const snapshot = liveEvent('snapshot', {
  id: 45,
  start: 15,
  end: 60,
  result: result('1', 45, 60),
  tier: 'hot,cold',
  reason: 'split',
  warnings: ['cold lags'],
});

/** Says that everything is 1,000 pixels wide. */
class WideResizeObserver {
  constructor(private readonly callback: ResizeObserverCallback) {}
  observe(target: Element): void {
    const entry = { target, contentRect: { width: 1000, height: 500 } } as unknown as ResizeObserverEntry;
    setTimeout(() => {
      act(() => {
        this.callback([entry], this);
      });
    });
  }
  unobserve(): void {}
  disconnect(): void {}
}

beforeEach(async () => {
  vi.stubGlobal('ResizeObserver', WideResizeObserver);
  panel = { mounts: 0, draws: 0 };
  streams = [];
  begin = (response) => {
    beginStream(response, snapshot);
  };
  server = await startServer((request, response) => {
    if (request.path.endsWith('/metrics/live')) {
      const stream: Stream = { request, response, isClosed: false };
      streams.push(stream);
      response.on('close', () => {
        stream.isClosed = true;
      });
      begin(response);
      return;
    }
    response.setHeader('X-Tier', 'hot');
    const matrix = [{ metric: { __name__: 'up' }, values: [[1, '0']] }];
    const vector = [{ metric: { __name__: 'up' }, value: [1, '0'] }];
    const data = request.path.endsWith('query_range')
      ? { resultType: 'matrix', result: matrix }
      : request.path.endsWith('query')
        ? { resultType: 'vector', result: vector }
        : request.path.endsWith('explain')
          ? { tier: 'hot', reason: 'below-threshold', sentence: 'hot answers' }
          : [];
    response.end(JSON.stringify({ status: 'success', data }));
  });
});
afterEach(async () => {
  vi.unstubAllGlobals();
  await server.close();
});

let state: ExplorerState;
let setTimeRange: (timeRange: TimeRangeValue) => void;

function Page(): null {
  const { search } = useLocation();
  state = JSON.parse(new URLSearchParams(search).get('data') ?? '{}') as ExplorerState;
  ({ setTimeRange } = useTimeRange());
  return null;
}

function open(initial: ExplorerState, timeRange: TimeRangeValue = { pastDuration: '1h' }) {
  const { unmount } = render(
    <TestPage
      url={server.url}
      plugins={plugins}
      timeRange={timeRange}
      address={`/explore?${new URLSearchParams({ data: JSON.stringify(initial) }).toString()}`}
    >
      <TieredPrometheusExplorer />
      <Page />
    </TestPage>
  );
  return { user: userEvent.setup({ delay: null }), unmount };
}

const liveSwitch = () => screen.findByRole<HTMLInputElement>('checkbox', { name: 'Live' });
const shows = (text: string) =>
  waitFor(() => {
    expect(screen.getByLabelText('Panel').textContent).toBe(text);
  });
const says = async (text: string | RegExp) =>
  within(await screen.findByRole('status', { name: 'What answered' })).findByText(text);
const opened = (count: number) =>
  waitFor(() => {
    expect(streams).toHaveLength(count);
  });
const closed = (index: number) =>
  waitFor(() => {
    expect(streams[index]?.isClosed).toBe(true);
  });
const send = (index: number, text: string) => streams[index]?.response.write(text);
/** A query with steps of 15 s, as those of the events. */
const up = (query = 'up'): QueryDefinition => {
  const definition = queryOf(query);
  return { ...definition, spec: { plugin: { ...definition.spec.plugin, spec: { query, minStep: '15s' } } } };
};

describe('a graph that is live', () => {
  it('goes on from what is there, in the same panel, and back', async () => {
    const { user } = open({ tab: 'graph', queries: [up()] });
    await shows('up: 1=0');
    await user.click(await liveSwitch());
    await shows('up: 45=1 60=1');
    expect(state).toEqual({ tab: 'graph', queries: [up()], live: true });
    expect(streams[0]?.request.parameters).toEqual({ query: ['up'], step: ['15'], range: ['3600'] });
    for (const text of [
      'live',
      'hot,cold',
      'split',
      'cold lags',
      '1 series',
      '2 samples',
      /^last update \d\d:\d\d:\d\d$/,
    ]) {
      expect(await says(text)).toBeDefined();
    }
    send(0, liveEvent('append', { id: 60, start: 60, end: 75, result: result('2', 60, 75) }));
    await shows('up: 45=1 60=2 75=2');
    expect(await says('below-threshold')).toBeDefined();
    await user.click(await liveSwitch());
    await closed(0);
    await shows('up: 1=0');
    expect(state).toEqual({ tab: 'graph', queries: [up()] });
    expect(panel.mounts).toBe(1);
    expect(screen.queryByText('live')).toBeNull();
  });

  it('begins so where the address says so, and asks nothing else', async () => {
    open({ tab: 'graph', queries: [up()], live: true });
    await shows('up: 45=1 60=1');
    expect((await liveSwitch()).checked).toBe(true);
    expect(server.seen.filter(({ path }) => path.endsWith('query_range'))).toEqual([]);
  });

  it('is drawn once for many events at a time', async () => {
    open({ tab: 'graph', queries: [up()], live: true });
    await shows('up: 45=1 60=1');
    const { draws } = panel;
    const steps = Array.from({ length: 200 }, (_, index) => 75 + 15 * index);
    send(0, steps.map((at) => liveEvent('append', { id: at, start: at, end: at, result: result('2', at) })).join(''));
    await waitFor(() => {
      expect(screen.getByLabelText('Panel').textContent).toContain('3060=2');
    });
    expect(panel.draws - draws).toBeLessThan(20);
    expect(panel.mounts).toBe(1);
  });

  it('stays where a gateway goes away, and goes on behind the last id', async () => {
    open({ tab: 'graph', queries: [up()], live: true });
    await shows('up: 45=1 60=1');
    begin = (response) => {
      response.writeHead(503, { 'Retry-After': '1' }).end('{"error":"no gateway"}');
    };
    streams[0]?.response.end(otherEvent('end', { reason: 'shutdown', message: 'restart' }));
    expect(await says('reconnecting')).toBeDefined();
    expect(await says('Connecting again: no gateway')).toBeDefined();
    expect(screen.getByLabelText('Panel').textContent).toBe('up: 45=1 60=1');
    expect(screen.queryByRole('progressbar')).toBeNull();
    const append = liveEvent('append', { id: 60, start: 60, end: 75, result: result('3', 60, 75) });
    begin = (response) => {
      beginStream(response, append);
    };
    await shows('up: 45=1 60=3 75=3');
    expect(await says('live')).toBeDefined();
    expect(screen.queryByText(/Connecting again/)).toBeNull();
    expect(streams.at(-1)?.request.headers['last-event-id']).toBe('45');
    expect(panel.mounts).toBe(1);
  });

  it('says what went wrong in an evaluation, beside what it has', async () => {
    open({ tab: 'graph', queries: [up()], live: true });
    await shows('up: 45=1 60=1');
    send(0, otherEvent('error', { status: 'error', error: 'both tiers are down' }));
    expect(await says(/The newest steps are missing.*: both tiers are down/)).toBeDefined();
    expect(screen.getByLabelText('Panel').textContent).toBe('up: 45=1 60=1');
    send(0, liveEvent('append', { id: 60, start: 75, end: 75, result: result('2', 75) }));
    await shows('up: 45=1 60=1 75=2');
    await waitFor(() => {
      expect(screen.queryByText(/both tiers are down/)).toBeNull();
    });
  });

  it('stops without the permission, and begins anew when the query is run', async () => {
    const { user } = open({ tab: 'graph', queries: [up()], live: true });
    await shows('up: 45=1 60=1');
    begin = (response) => {
      response.writeHead(403).end('{"error":"missing read on metrics"}');
    };
    streams[0]?.response.end(otherEvent('end', { reason: 'permission', message: 'gone' }));
    expect(await says(/^Live has stopped: You may not read .*: missing read on metrics$/)).toBeDefined();
    expect(await says('stopped')).toBeDefined();
    await opened(2);
    begin = (response) => {
      beginStream(response, snapshot);
    };
    await user.click(screen.getByTestId('run_query_button'));
    expect(await says('live')).toBeDefined();
    await opened(3);
  });

  it('shows a mistake in a query where the graph would be', async () => {
    begin = (response) => {
      response.writeHead(400).end('{"status":"error","errorType":"bad_data","error":"parse error"}');
    };
    open({ tab: 'graph', queries: [up('up(')], live: true });
    expect(await says('Live has stopped: parse error')).toBeDefined();
    await waitFor(() => {
      expect(screen.queryByLabelText('Panel')).toBeNull();
    });
    expect(streams).toHaveLength(1);
  });
});

describe('the streams of the explorer', () => {
  it('end with the page', async () => {
    const { unmount } = open({ tab: 'graph', queries: [up(), up('down')], live: true });
    await opened(2);
    unmount();
    await closed(0);
    await closed(1);
    expect(streams).toHaveLength(2);
  });

  it('end with a query, and begin with the next', async () => {
    const { user } = open({ tab: 'graph', queries: [up()], live: true });
    await opened(1);
    await writeExpression('other');
    await user.click(screen.getByTestId('run_query_button'));
    await closed(0);
    await opened(2);
    expect(streams[1]?.request.parameters.query).toEqual(['other']);
    expect(streams[1]?.request.headers).not.toHaveProperty('last-event-id');
  });

  it('end with a time range, and are none in an absolute one', async () => {
    const { user } = open({ tab: 'graph', queries: [up()], live: true });
    await opened(1);
    act(() => {
      setTimeRange({ pastDuration: '6h' });
    });
    await closed(0);
    await opened(2);
    expect(streams[1]?.request.parameters.range).toEqual(['21600']);
    await shows('up: 45=1 60=1');
    const { mounts } = panel;
    act(() => {
      setTimeRange({ start: new Date(0), end: new Date(3_600_000) });
    });
    await closed(1);
    await shows('up: 1=0');
    const input = await liveSwitch();
    expect(input).toMatchObject({ disabled: true, checked: false });
    await user.hover(screen.getByText('Live'));
    expect(await screen.findByRole('tooltip')).toHaveProperty('textContent', expect.stringContaining('absolute'));
    expect(panel.mounts).toBe(mounts);
    act(() => {
      setTimeRange({ pastDuration: '1h' });
    });
    await opened(3);
  });

  it('end with a datasource, and begin at the next', async () => {
    const { user } = open({ tab: 'graph', queries: [up()], live: true });
    await opened(1);
    await user.click(await screen.findByRole('combobox', { name: 'Tiered Prometheus Datasource' }));
    // In Perses 0.52, whose packages are used here, a choice runs at once.
    await user.click(await screen.findByRole('option', { name: /^other/ }));
    await closed(0);
    await opened(2);
    expect(streams[1]?.request.path).toBe('/other/api/v1/metrics/live');
  });

  it('ask for the tier and the parameters of the query', async () => {
    const query = up();
    const spec = { ...query.spec.plugin.spec, tier: 'cold', seriesNameFormat: 'name of {{__name__}}' };
    open({ tab: 'graph', queries: [{ ...query, spec: { plugin: { ...query.spec.plugin, spec } } }], live: true });
    await opened(1);
    expect(streams[0]?.request.headers['x-tier-choice']).toBe('cold');
  });

  it('are those of the newest step for a table', async () => {
    const { user } = open({ queries: [up()], live: true });
    await shows('up: 60=1');
    expect(streams[0]?.request.parameters.range).toEqual(['15']);
    send(0, liveEvent('append', { id: 60, start: 75, end: 75, result: result('2', 75) }));
    await shows('up: 75=2');
    send(0, liveEvent('append', { id: 75, start: 90, end: 90 }));
    await shows('');
    await user.click(screen.getByRole('tab', { name: 'Graph' }));
    await closed(0);
    await opened(2);
    await user.click(screen.getByRole('tab', { name: 'Finder' }));
    await closed(1);
    expect(screen.queryByRole('checkbox', { name: 'Live' })).toBeNull();
  });

  it('are not begun for more queries than a browser has connections for', async () => {
    open({ tab: 'graph', queries: ['a', 'b', 'c', 'd'].map((each) => up(each)), live: true });
    expect(await liveSwitch()).toMatchObject({ disabled: true, checked: false });
    await waitFor(() => {
      expect(server.seen.filter(({ path }) => path.endsWith('query_range'))).toHaveLength(4);
    });
    expect(streams).toEqual([]);
  });
});

vi.setConfig({ testTimeout: 120_000 });
