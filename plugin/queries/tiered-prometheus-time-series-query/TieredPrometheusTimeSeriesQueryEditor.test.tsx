import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import type { DatasourceStore, OptionsEditorProps } from '@perses-dev/plugin-system';
import {
  BuiltinVariableContext,
  DatasourceStoreContext,
  TimeRangeProvider,
  VariableContext,
} from '@perses-dev/plugin-system';
import { act, fireEvent, render, screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createClient } from '../../model/client';
import type { Explanation } from '../../model/explain';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { DATASOURCE_KIND } from '../../model/spec';
import { messages } from '../../model/validate';
import type { TestServer } from '../../testing/gateway';
import { startServer } from '../../testing/gateway';
import { TieredPrometheusTimeSeriesQueryEditor } from './TieredPrometheusTimeSeriesQueryEditor';

type Spec = TieredPrometheusTimeSeriesQuerySpec;

const hot: Explanation = { tier: 'hot', reason: 'below-threshold', sentence: 'hot answers: it is short' };

let server: TestServer;
/** The answer to what is asked about a query; the error of the gateway if it is a text. */
let explain: (query: string) => Explanation | string;

beforeEach(async () => {
  explain = () => hot;
  server = await startServer(({ path, parameters }, response) => {
    if (!path.endsWith('/explain')) {
      response.end('{"status":"success","data":[]}');
      return;
    }
    const answer = explain(String(parameters.query));
    response.statusCode = typeof answer === 'string' ? 502 : 200;
    response.end(
      JSON.stringify(
        typeof answer === 'string' ? { status: 'error', error: answer } : { status: 'success', data: answer }
      )
    );
  });
});
afterEach(() => server.close());

/** The requests about a decision so far. */
const explained = () => server.seen.filter(({ path }) => path.endsWith('/explain'));

/** Shows the editor in what Perses has around it; what it reports comes back as its value. */
function open(spec: Spec, props: Partial<OptionsEditorProps<Spec>> = {}) {
  const datasource = {
    scrapeInterval: '30s',
    queryParams: { dedup: 'true' },
    proxy: { kind: 'HTTPProxy', spec: { url: '' } },
  };
  const store = {
    getDatasource: () => Promise.resolve({ plugin: { kind: DATASOURCE_KIND, spec: datasource } }),
    getDatasourceClient: () =>
      Promise.resolve(createClient(datasource as never, { proxyUrl: `${server.url}/proxy/globaldatasources/metrics` })),
    listDatasourceSelectItems: () =>
      Promise.resolve([
        { group: 'Default', items: [{ name: 'Default (metrics)', selector: { kind: DATASOURCE_KIND } }] },
        {
          group: 'global',
          items: [{ name: 'other', selector: { kind: DATASOURCE_KIND, name: 'other', group: 'global' } }],
        },
      ]),
  } as unknown as DatasourceStore;
  const onChange = vi.fn<(next: Spec) => void>();
  function Editor() {
    const [value, setValue] = useState(spec);
    return (
      <TieredPrometheusTimeSeriesQueryEditor
        {...props}
        value={value}
        onChange={(next) => {
          onChange(next);
          setValue(next);
        }}
      />
    );
  }
  render(
    <QueryClientProvider client={new QueryClient()}>
      <DatasourceStoreContext.Provider value={store}>
        <TimeRangeProvider timeRange={{ start: new Date(1_800_000_000_000), end: new Date(1_800_000_300_000) }}>
          <VariableContext.Provider value={{ state: { job: { value: 'cart', loading: false } } }}>
            <BuiltinVariableContext.Provider value={{ variables: [] }}>
              <Editor />
            </BuiltinVariableContext.Provider>
          </VariableContext.Provider>
        </TimeRangeProvider>
      </DatasourceStoreContext.Provider>
    </QueryClientProvider>
  );
  return { user: userEvent.setup({ delay: null }), onChange };
}

const expression = () => screen.getByLabelText('PromQL Expression');
const tierField = () => screen.getByRole('combobox', { name: /^Tier\b/ });
const line = () => screen.getByRole('status', { name: 'Where this query goes' });

/** Types into the PromQL editor, as far as jsdom lets one. */
async function write(query: string): Promise<void> {
  const { EditorView } = await import('@codemirror/view');
  const view = EditorView.findFromDOM(expression());
  act(() => {
    view?.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: query } });
  });
}

describe('the line below a query', () => {
  it('says where the query goes, in the words of the gateway', async () => {
    explain = () => ({ ...hot, warnings: ['cold is 2h behind', 'a second one'] });
    open({ query: 'up{job="$job"}', tier: 'hot' });
    await waitFor(() => {
      expect(line().textContent).toContain('hot answers: it is short');
    });
    expect(line().textContent).toContain('cold is 2h behind');
    expect(line().textContent).toContain('a second one');
    expect(explained()[0]?.headers['x-tier-choice']).toBe('hot');
    expect(explained()[0]?.parameters).toEqual({
      endpoint: ['query_range'],
      query: ['up{job="cart"}'],
      start: ['1800000000'],
      end: ['1800000300'],
      step: ['30'],
      dedup: ['true'],
    });
  });

  it('asks once for what is typed in one go, and not for the name of a series', async () => {
    explain = (query) => ({ ...hot, sentence: `it is about ${query}` });
    const { user } = open({ query: 'a' });
    await waitFor(() => {
      expect(line().textContent).toContain('it is about a');
    });
    await write('u');
    await write('up');
    await user.type(screen.getByLabelText('Legend'), 'x');
    await waitFor(() => {
      expect(line().textContent).toContain('it is about up');
    });
    expect(explained().map(({ parameters }) => String(parameters.query))).toEqual(['a', 'up']);
  });

  it('tells quietly why it does not know', async () => {
    explain = () => 'no route to the gateway';
    open({ query: 'up' });
    await waitFor(() => {
      expect(line().textContent).toContain('no route to the gateway');
    });
    expect(screen.queryByRole('alert')).toBeNull();
    expect(explained()).toHaveLength(1);
  });

  it('asks nobody where there is no query', () => {
    open({ query: '' });
    expect(line().textContent).toContain('once there is a query');
    expect(explained()).toEqual([]);
  });
});

describe('the editor of a query', () => {
  it('reports what was typed once the focus leaves the field', async () => {
    const { user, onChange } = open({ query: 'up' });
    await user.type(screen.getByLabelText('Legend'), '{{{{job}}');
    await user.type(screen.getByLabelText('Min Step'), '1m');
    expect(onChange.mock.calls.map(([spec]) => spec)).toEqual([{ query: 'up', seriesNameFormat: '{{job}}' }]);
    await user.tab();
    expect(onChange).toHaveBeenLastCalledWith({ query: 'up', seriesNameFormat: '{{job}}', minStep: '1m' });
    await user.clear(screen.getByLabelText('Min Step'));
    await user.tab();
    expect(JSON.stringify(onChange.mock.lastCall?.[0])).toBe('{"query":"up","seriesNameFormat":"{{job}}"}');
  });

  it('reports the expression once the focus leaves it', async () => {
    const { onChange } = open({ query: 'up', resolution: 2 });
    await write('up > 0');
    expect(onChange).not.toHaveBeenCalled();
    fireEvent.blur(expression());
    expect(onChange).toHaveBeenLastCalledWith({ query: 'up > 0', resolution: 2 });
    fireEvent.blur(expression());
    expect(onChange).toHaveBeenCalledTimes(1);
  });

  it('gives what was typed to the button of Perses 0.52, and keeps it while something is chosen', async () => {
    const queryHandlerSettings = { runWithOnBlur: false, watchQueryChanges: vi.fn(), setWatchOtherSpecs: vi.fn() };
    const { user, onChange } = open({ query: 'up' }, { queryHandlerSettings });
    await write('up > 0');
    await user.type(screen.getByLabelText('Legend'), 'x');
    await user.tab();
    expect(onChange).not.toHaveBeenCalled();
    expect(queryHandlerSettings.watchQueryChanges).toHaveBeenLastCalledWith('up > 0');
    expect(queryHandlerSettings.setWatchOtherSpecs).toHaveBeenLastCalledWith({
      query: 'up > 0',
      seriesNameFormat: 'x',
    });

    await user.click(tierField());
    await user.click(screen.getByRole('option', { name: 'Cold' }));
    expect(onChange).toHaveBeenLastCalledWith({ query: 'up', tier: 'cold' });
    expect(queryHandlerSettings.setWatchOtherSpecs).toHaveBeenLastCalledWith({
      query: 'up > 0',
      seriesNameFormat: 'x',
      tier: 'cold',
    });
    expect(expression().textContent).toBe('up > 0');
  });

  it('chooses a tier at once, and leaves auto out', async () => {
    const { user, onChange } = open({ query: 'up', tier: 'hot' });
    await user.click(tierField());
    await user.click(screen.getByRole('option', { name: 'Auto' }));
    expect(JSON.stringify(onChange.mock.lastCall?.[0])).toBe('{"query":"up"}');
  });

  it('makes a query instant at once, and leaves out what the panel asks for', async () => {
    explain = () => hot;
    const { user, onChange } = open({ query: 'up' });
    await waitFor(() => {
      expect(explained()).toHaveLength(1);
    });
    const type = () => screen.getByRole('combobox', { name: /^Evaluation\b/ });
    await user.click(type());
    await user.click(screen.getByRole('option', { name: 'Instant' }));
    expect(onChange).toHaveBeenLastCalledWith({ query: 'up', instant: true });
    await waitFor(() => {
      expect(explained().at(-1)?.parameters).toMatchObject({ endpoint: ['query'], time: ['1800000300'] });
    });
    await user.click(type());
    await user.click(screen.getByRole('option', { name: 'As the panel asks' }));
    expect(JSON.stringify(onChange.mock.lastCall?.[0])).toBe('{"query":"up"}');
  });

  it('chooses a datasource of our kind at once', async () => {
    const { user, onChange } = open({ query: 'up' });
    await user.click(await screen.findByLabelText('Tiered Prometheus Datasource'));
    await user.click(await screen.findByText(/^other/));
    expect(onChange).toHaveBeenLastCalledWith({ query: 'up', datasource: { kind: DATASOURCE_KIND, name: 'other' } });
  });

  it('says what Perses would say of a step', async () => {
    const { user } = open({ query: 'up' });
    await user.type(screen.getByLabelText('Min Step'), '30');
    expect(screen.getByText(messages.minStep)).toBeTruthy();
    await user.type(screen.getByLabelText('Min Step'), 's');
    expect(screen.queryByText(messages.minStep)).toBeNull();
    expect(screen.getByLabelText('Min Step')).toHaveProperty('placeholder', '30s');
  });

  it('changes nothing where it is only read', async () => {
    const { onChange } = open({ query: 'up', tier: 'cold', minStep: '1m' }, { isReadonly: true });
    for (const label of ['Legend', 'Min Step']) {
      expect(screen.getByLabelText(label)).toHaveProperty('readOnly', true);
    }
    fireEvent.mouseDown(tierField());
    expect(screen.queryByRole('option')).toBeNull();
    expect(onChange).not.toHaveBeenCalled();
    await waitFor(() => {
      expect(line().textContent).toContain('hot answers');
    });
  });
});
