import type { DatasourceDefinition } from '@perses-dev/core';
import { DatasourceEditorForm, PluginRegistry, ValidationProvider } from '@perses-dev/plugin-system';
import type { PluginLoader } from '@perses-dev/plugin-system';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TierReport } from '../../model/check';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';
import { DATASOURCE_KIND } from '../../model/spec';
import { messages } from '../../model/validate';
import type { TestServer } from '../../testing/gateway';
import { startServer } from '../../testing/gateway';
import { TieredPrometheusDatasource } from './TieredPrometheusDatasource';

const loader: PluginLoader = {
  getInstalledPlugins: () =>
    Promise.resolve([
      {
        kind: 'PluginModule',
        metadata: { name: 'TieredPrometheus', version: '0.2.0' },
        spec: {
          plugins: [
            { kind: 'Datasource', spec: { name: DATASOURCE_KIND, display: { name: 'Tiered Prometheus Datasource' } } },
          ],
        },
      },
    ]),
  importPluginModule: () => Promise.resolve({ TieredPrometheusDatasource }),
};

const url = 'http://tierproxy:9190/proxy/globaldatasources/metrics';

/** Shows the form of Perses with our editor in it. Without a spec, as for a new datasource. */
async function openForm({
  spec = TieredPrometheusDatasource.createInitialOptions(),
  name = '',
  action = 'create',
}: {
  spec?: TieredPrometheusDatasourceSpec;
  name?: string;
  action?: 'create' | 'update' | 'read';
} = {}) {
  const onSave = vi.fn<(definition: DatasourceDefinition) => void>();
  render(
    <QueryClientProvider client={new QueryClient()}>
      <PluginRegistry pluginLoader={loader}>
        <ValidationProvider>
          <DatasourceEditorForm
            initialDatasourceDefinition={{
              name,
              spec: { default: false, plugin: { kind: DATASOURCE_KIND, spec: { ...spec } } },
            }}
            action={action}
            isDraft={false}
            isReadonly={action === 'read'}
            onSave={onSave}
            onClose={() => undefined}
          />
        </ValidationProvider>
      </PluginRegistry>
    </QueryClientProvider>
  );
  await field('Proxy URL');
  const user = userEvent.setup({ delay: null });
  return {
    user,
    /** Clicks the button of the form and returns the spec that it reports. */
    save: async () => {
      await user.click(screen.getByText('Save'));
      await waitFor(() => {
        expect(onSave).toHaveBeenCalled();
      });
      // As it is sent: without what is undefined.
      return JSON.parse(JSON.stringify(onSave.mock.lastCall?.[0].spec.plugin.spec)) as unknown;
    },
  };
}

/** A field by its label, which has an asterisk if the field is required. */
const labelled = (name: string) => new RegExp(`^${name}( \\*)?$`);
/** Apart from radio buttons of the same name. */
const textbox = { selector: 'input[type=text]' };
const field = (name: string) => screen.findByLabelText<HTMLInputElement>(labelled(name));
const tier = (name: string) => within(screen.getByRole('region', { name }));

afterEach(() => {
  window.history.pushState({}, '', '/');
  delete window.PERSES_APP_CONFIG;
});

describe('the form of a new datasource', () => {
  it('fills in the proxy URL while the name is typed', async () => {
    const { user, save } = await openForm();
    await user.type(await field('Name'), 'metrics');
    expect(await field('Proxy URL')).toHaveProperty('value', url);
    expect(await save()).toEqual({ proxy: { kind: 'HTTPProxy', spec: { url } } });
  });

  it('knows the project of the page', async () => {
    window.history.pushState({}, '', '/perses/projects/my-team/datasources');
    const { user } = await openForm();
    await user.type(await field('Name'), 'metrics');
    expect(await field('Proxy URL')).toHaveProperty(
      'value',
      'http://tierproxy:9190/proxy/projects/my-team/datasources/metrics'
    );
  });

  it('keeps the gateway that somebody wrote, and follows the name nonetheless', async () => {
    const { user } = await openForm();
    await user.type(await field('Name'), 'm');
    const proxyUrl = await field('Proxy URL');
    await user.clear(proxyUrl);
    await user.type(proxyUrl, 'https://gateway/proxy/globaldatasources/m');
    await user.type(await field('Name'), 'etrics');
    expect(proxyUrl).toHaveProperty('value', 'https://gateway/proxy/globaldatasources/metrics');
  });

  it('is filled in by keyboard alone', async () => {
    const { user, save } = await openForm();
    await user.click(await field('Name'));
    await user.keyboard('metrics');
    const reach = async (name: string): Promise<void> => {
      for (let presses = 0; presses < 40; presses++) {
        await user.tab();
        const { activeElement } = document;
        if (
          activeElement !== null &&
          screen.queryAllByLabelText(labelled(name)).includes(activeElement as HTMLElement)
        ) {
          return;
        }
      }
      throw new Error(`the Tab key does not reach ${name}`);
    };
    await reach('Threshold');
    await user.keyboard('10m');
    await reach('From the gateway');
    await user.keyboard('{ArrowDown}{ArrowDown}');
    await reach('URL');
    await user.keyboard('http://hot:9090');
    await reach('Retention');
    await user.keyboard('15d');
    expect(await save()).toEqual({
      threshold: '10m',
      hot: { url: 'http://hot:9090', retention: '15d' },
      proxy: { kind: 'HTTPProxy', spec: { url } },
    });
  });
});

describe('the form of a datasource', () => {
  const minimal: TieredPrometheusDatasourceSpec = { proxy: { kind: 'HTTPProxy', spec: { url } } };

  it('says what Perses would say, while it is typed', async () => {
    const { user } = await openForm({ spec: minimal, name: 'metrics' });
    const threshold = await field('Threshold');
    await user.type(threshold, '15');
    expect(screen.getByText(messages.positiveDuration)).toBeTruthy();
    expect(threshold.getAttribute('aria-invalid')).toBe('true');
    await user.type(threshold, 'm');
    expect(screen.queryByText(messages.positiveDuration)).toBeNull();
    await user.click(tier('Cold tier').getByRole('radio', { name: 'URL' }));
    expect(screen.getByText(messages.tierUrl)).toBeTruthy();
    await user.type(tier('Cold tier').getByLabelText(labelled('URL'), textbox), 'http://cold:9090');
    expect(screen.queryByText(messages.tierUrl)).toBeNull();
  });

  it('takes a strategy, and leaves to the gateway what is not chosen', async () => {
    const { user, save } = await openForm({ spec: { ...minimal, cache: false }, name: 'metrics', action: 'update' });
    const choose = async (label: RegExp, option: string): Promise<void> => {
      await user.click(screen.getByRole('combobox', { name: label }));
      // The menus before it may still be closing.
      await user.click(within(screen.getByRole('listbox', { name: label })).getByRole('option', { name: option }));
    };
    await choose(/Strategy/, 'split');
    await choose(/Split with replicas/, 'no');
    await choose(/Cache/, 'Left out: as the gateway says');
    expect(await save()).toEqual({ ...minimal, strategy: 'split', splitAcrossReplicas: false });
  });

  it('takes a tier as a service', async () => {
    const { user, save } = await openForm({ spec: minimal, name: 'metrics', action: 'update' });
    expect(tier('Hot tier').getByText(/hot tiers that the gateway is configured with/)).toBeTruthy();
    await user.click(tier('Hot tier').getByRole('radio', { name: 'Kubernetes service' }));
    expect(tier('Hot tier').getAllByText('field is required but not present')).toHaveLength(2);
    await user.type(tier('Hot tier').getByLabelText(labelled('Namespace'), textbox), 'monitoring');
    await user.type(tier('Hot tier').getByLabelText(labelled('Service'), textbox), 'prometheus');
    await user.type(tier('Hot tier').getByLabelText(labelled('Port'), textbox), '9090');
    await user.click(tier('Hot tier').getByRole('combobox', { name: /Scheme/ }));
    await user.click(screen.getByRole('option', { name: 'http' }));
    expect(await save()).toEqual({
      ...minimal,
      hot: { service: { namespace: 'monitoring', name: 'prometheus', port: 9090, scheme: 'http' } },
    });
  });

  it('takes several hot tiers, and saves one without a list', async () => {
    const hot = { url: 'http://eu:9090' };
    const { user, save } = await openForm({ spec: { ...minimal, hot }, name: 'metrics', action: 'update' });
    await user.type(tier('Hot tier').getByLabelText(labelled('Name'), textbox), 'eu-1');
    await user.click(screen.getByRole('button', { name: 'Add hot tier' }));
    await user.type(tier('Hot tier 2').getByLabelText(labelled('URL'), textbox), 'http://us:9090');
    await user.type(tier('Hot tier 2').getByLabelText(labelled('Retention'), textbox), '1d');
    await user.click(screen.getByRole('button', { name: 'Add hot tier' }));
    await user.click(tier('Hot tier 3').getByRole('radio', { name: 'By name' }));
    expect(tier('Hot tier 3').getByText(messages.tierName)).toBeTruthy();
    await user.type(tier('Hot tier 3').getByLabelText(labelled('Name'), textbox), 'eu-1');
    expect(tier('Hot tier 3').getByText(messages.sameTierName)).toBeTruthy();
    await user.type(tier('Hot tier 3').getByLabelText(labelled('Name'), textbox), 'b');
    expect(screen.queryByText(messages.sameTierName)).toBeNull();
    const named = { name: 'eu-1b' };
    const us = { url: 'http://us:9090', retention: '1d' };
    expect(await save()).toEqual({ ...minimal, hot: [{ ...hot, name: 'eu-1' }, us, named] });

    await user.click(screen.getByRole('button', { name: 'Remove hot tier 1' }));
    expect(await save()).toEqual({ ...minimal, hot: [us, named] });
    await user.click(screen.getByRole('button', { name: 'Remove hot tier 1' }));
    expect(await save()).toEqual({ ...minimal, hot: named });
    expect(screen.queryByRole('button', { name: /Remove hot tier/ })).toBeNull();
    await user.click(tier('Hot tier').getByRole('radio', { name: 'From the gateway' }));
    expect(await save()).toEqual(minimal);
    expect(screen.queryByRole('button', { name: 'Add hot tier' })).toBeNull();
  });

  it('gives a tier back to the gateway, and brings it back if one changes one’s mind', async () => {
    const spec = { ...minimal, cold: { url: 'http://cold:9090', lag: '2h' as const } };
    const { user, save } = await openForm({ spec, name: 'metrics', action: 'update' });
    await user.click(tier('Cold tier').getByRole('radio', { name: 'From the gateway' }));
    expect(await save()).toEqual(minimal);
    await user.click(tier('Cold tier').getByRole('radio', { name: 'URL' }));
    expect(await save()).toEqual(spec);
  });

  it('takes parameters, headers, a secret and endpoints', async () => {
    const { user, save } = await openForm({ spec: minimal, name: 'metrics', action: 'update' });
    await user.click(screen.getByRole('button', { name: 'Add parameter' }));
    await user.type(await field('Name of parameter 1'), 'dedup');
    await user.type(await field('Value of parameter 1'), 'true');
    await user.click(screen.getByRole('button', { name: 'Add parameter' }));
    await user.click(screen.getByRole('button', { name: /Secret, headers/ }));
    await user.type(await field('Secret'), 'gateway');
    await user.click(screen.getByRole('button', { name: 'Add header' }));
    await user.type(await field('Name of header 1'), 'X-Site');
    await user.type(await field('Value of header 1'), 'lab');
    await user.click(screen.getByRole('button', { name: 'Add endpoint' }));
    await user.type(await field('Pattern of endpoint 1'), '^/api/v1/query$');
    expect(await save()).toEqual({
      queryParams: { dedup: 'true' },
      proxy: {
        kind: 'HTTPProxy',
        spec: {
          url,
          secret: 'gateway',
          headers: { 'X-Site': 'lab' },
          allowedEndpoints: [{ endpointPattern: '^/api/v1/query$', method: 'GET' }],
        },
      },
    });
    await user.click(screen.getByRole('button', { name: 'Remove parameter 1' }));
    await user.click(screen.getByRole('button', { name: 'Remove header 1' }));
    await user.click(screen.getByRole('button', { name: 'Remove endpoint 1' }));
    await user.clear(await field('Secret'));
    expect(await save()).toEqual(minimal);
  });

  it('allows what the plugin asks, at one click', async () => {
    const { user, save } = await openForm({ spec: minimal, name: 'metrics', action: 'update' });
    await user.click(screen.getByRole('button', { name: /Secret, headers/ }));
    await user.click(screen.getByRole('button', { name: 'Add all that this plugin asks' }));
    const saved = (await save()) as TieredPrometheusDatasourceSpec;
    const paths = ['/api/v1/query_range', '/api/v1/datasources/explain', '/api/v1/datasources/check'];
    for (const path of paths) {
      expect(
        saved.proxy.spec.allowedEndpoints?.some(
          ({ endpointPattern, method }) => method === 'POST' && new RegExp(endpointPattern).test(path)
        )
      ).toBe(true);
    }
    expect(screen.queryByRole('button', { name: 'Add all that this plugin asks' })).toBeNull();
  });

  it('warns of a proxy URL that names another datasource, and corrects it', async () => {
    window.history.pushState({}, '', '/admin/datasources');
    const other = 'http://gateway/proxy/projects/p/datasources/other';
    const spec: TieredPrometheusDatasourceSpec = { proxy: { kind: 'HTTPProxy', spec: { url: other } } };
    const { user } = await openForm({ spec, name: 'metrics', action: 'update' });
    expect(screen.getByText(/names another datasource/)).toBeTruthy();
    await user.click(screen.getByRole('button', { name: 'Correct it' }));
    expect(await field('Proxy URL')).toHaveProperty('value', 'http://gateway/proxy/globaldatasources/metrics');
    expect(screen.queryByText(/names another datasource/)).toBeNull();
  });

  it('shows mistakes that no field shows', async () => {
    const spec = { ...minimal, hot: {}, weight: 1 } as TieredPrometheusDatasourceSpec;
    await openForm({ spec, name: 'metrics', action: 'update' });
    const alert = screen.getByText('Perses refuses to save this').closest<HTMLElement>('[role="alert"]');
    expect(alert?.textContent).toContain('spec.weight: field not allowed');
    expect(alert?.textContent).toContain('spec.hot."url, service or name": field is required but not present');
  });

  it('changes nothing where it is only read', async () => {
    const spec: TieredPrometheusDatasourceSpec = {
      ...minimal,
      hot: { url: 'http://hot:9090' },
      queryParams: { a: 'b' },
    };
    await openForm({ spec, name: 'metrics', action: 'read' });
    expect(await field('Proxy URL')).toHaveProperty('readOnly', true);
    expect(tier('Hot tier').getByLabelText(labelled('URL'), textbox)).toHaveProperty('readOnly', true);
    expect(tier('Hot tier').getByRole('radio', { name: 'From the gateway' })).toHaveProperty('disabled', true);
    expect(screen.queryByRole('button', { name: /Add|Remove/ })).toBeNull();
  });

  it.each(
    readdirSync('schemas/datasources/tiered-prometheus-datasource/tests/valid').filter(
      // Forms of 200 tiers take minutes in jsdom.
      (file) => file.endsWith('.json') && file !== 'hot-list-longest.json'
    )
  )('saves what it was given: %s', async (file) => {
    const { spec } = JSON.parse(
      readFileSync(`schemas/datasources/tiered-prometheus-datasource/tests/valid/${file}`, 'utf8')
    ) as { spec: TieredPrometheusDatasourceSpec };
    const { save } = await openForm({ spec, name: 'metrics', action: 'update' });
    expect(screen.queryByText('Perses refuses to save this')).toBeNull();
    expect(await save()).toEqual(spec);
  });
});

describe('the check', () => {
  let server: TestServer;
  let report: object;
  let status = 200;
  beforeEach(async () => {
    status = 200;
    server = await startServer((_, response) => {
      response.statusCode = status;
      response.end(JSON.stringify(report));
    });
    window.PERSES_APP_CONFIG = { api_prefix: server.url };
  });
  afterEach(() => server.close());

  const spec: TieredPrometheusDatasourceSpec = {
    hot: { url: 'http://hot:9090' },
    proxy: { kind: 'HTTPProxy', spec: { url } },
  };
  const reachable: TierReport = {
    source: 'gateway',
    address: 'http://thanos:9090',
    state: 'ok',
    message: 'it answers queries',
    version: '0.42.4',
    oldest_sample: new Date(Date.now() - 3 * 86_400_000).toISOString(),
    coverage_start: new Date(Date.now() - 2 * 86_400_000).toISOString(),
    external_labels: { cluster: 'lab', site: 'one' },
    latency_seconds: 0.0123,
  };

  it('shows what the gateway found at each tier', async () => {
    report = {
      status: 'success',
      data: {
        ok: false,
        mistakes: [],
        tiers: {
          hot: { source: 'datasource', address: 'http://hot:9090', state: 'refused', message: 'check the port' },
          cold: reachable,
        },
      },
    };
    const { user } = await openForm({ spec, name: 'metrics' });
    await user.click(screen.getByRole('button', { name: 'Check' }));
    const hot = await screen.findByRole('region', { name: 'Hot tier: report' });
    expect(hot.textContent).toContain('connection refused');
    expect(hot.textContent).toContain('named by this datasource');
    expect(hot.textContent).toContain('check the port');
    expect(hot.textContent).not.toContain('Version');
    const cold = screen.getByRole('region', { name: 'Cold tier: report' });
    for (const text of [
      'reachable',
      'from the gateway',
      '0.42.4',
      '3 days ago',
      '2 days ago',
      'cluster="lab", site="one"',
      '12 ms',
    ]) {
      expect(cold.textContent).toContain(text);
    }
    expect(screen.getByText('This datasource does not work as it is')).toBeTruthy();
    expect(server.seen.map(({ path }) => path)).toEqual(['/proxy/unsaved/globaldatasources/api/v1/datasources/check']);
    const { body } = JSON.parse(server.seen[0]?.body ?? '') as { body: string };
    expect(JSON.parse(atob(body))).toEqual(spec);

    await user.type(await field('Threshold'), '5m');
    expect(screen.getByText('The form has changed since this check.')).toBeTruthy();
  });

  it('shows beside each hot tier what the gateway found there', async () => {
    const refused = { source: 'datasource', address: 'http://us:9090', state: 'refused', message: 'check the port' };
    const hot_tiers = [
      { ...reachable, name: 'eu-1' },
      { ...refused, name: 'us:9090' },
      { ...reachable, name: 'asia-1', external_labels: { cluster: 'asia' } },
    ];
    const tiers = { hot: { ...refused, message: '1 of 3 hot tiers cannot be used' }, cold: reachable };
    report = { status: 'success', data: { ok: false, mistakes: [], tiers, hot_tiers } };
    const hot = [{ name: 'eu-1', url: 'http://eu:9090' }, { url: 'http://us:9090' }, { name: 'asia-1' }];
    const { user } = await openForm({ spec: { ...spec, hot }, name: 'metrics' });
    await user.click(screen.getByRole('button', { name: 'Check' }));
    await screen.findByRole('region', { name: 'Hot tier eu-1: report' });
    expect(screen.getByText('1 of 3 hot tiers cannot be used')).toBeTruthy();
    expect(screen.getByRole('region', { name: 'Hot tier us:9090: report' }).textContent).toContain('check the port');
    expect(screen.getByRole('region', { name: 'Hot tier asia-1: report' }).textContent).toContain('cluster="asia"');
    const broken = 'connection refused';
    const beside = (name: string, state: string) => tier(name).queryByText(state);
    expect([1, 2, 3].map((at) => beside(`Hot tier ${String(at)}`, broken) !== null)).toEqual([false, true, false]);
    expect(beside('Hot tier 1', 'reachable')).toBeTruthy();

    // The states stay with their tiers, until these change.
    await user.click(screen.getByRole('button', { name: 'Remove hot tier 1' }));
    expect(beside('Hot tier 1', broken)).toBeTruthy();
    expect(beside('Hot tier 2', 'reachable')).toBeTruthy();
    await user.type(tier('Hot tier 1').getByLabelText(labelled('URL'), textbox), '/prometheus');
    expect(beside('Hot tier 1', broken)).toBeNull();
  });

  it('says that a datasource works', async () => {
    const tiers = { hot: { source: 'none', state: 'none', message: 'there is none' }, cold: reachable };
    report = { status: 'success', data: { ok: true, mistakes: [], tiers } };
    const { user } = await openForm({ spec, name: 'metrics' });
    await user.click(screen.getByRole('button', { name: 'Check' }));
    expect(await screen.findByText('This datasource works.')).toBeTruthy();
    expect(screen.getByRole('region', { name: 'Hot tier: report' }).textContent).toContain('no such tier');
  });

  it('says why a tier that answers gets no queries, and what to change', async () => {
    const unused = 'hot covers only the last 2m';
    const tiers = { hot: { ...reachable, unused, remedy: 'wait for samples' }, cold: reachable };
    report = { status: 'success', data: { ok: false, mistakes: [], tiers } };
    const { user } = await openForm({ spec, name: 'metrics' });
    await user.click(screen.getByRole('button', { name: 'Check' }));
    const text = (await screen.findByRole('region', { name: 'Hot tier: report' })).textContent;
    for (const part of ['gets no queries', unused, 'wait for samples']) {
      expect(text).toContain(part);
    }
    expect(screen.getByRole('region', { name: 'Cold tier: report' }).textContent).not.toContain('gets no queries');
  });

  it('lists the mistakes that the gateway finds', async () => {
    const mistakes = [{ field: 'spec.threshold', message: 'is longer than hot keeps its data' }];
    report = { status: 'success', data: { ok: false, mistakes, tiers: {} } };
    const { user } = await openForm({ spec, name: 'metrics' });
    await user.click(screen.getByRole('button', { name: 'Check' }));
    expect(await screen.findByText(/is longer than hot keeps its data/)).toBeTruthy();
  });

  it('tells why the gateway could not be asked', async () => {
    status = 502;
    report = { error: 'dial tcp: connection refused' };
    const { user } = await openForm({ spec, name: 'metrics' });
    await user.click(screen.getByRole('button', { name: 'Check' }));
    expect(await screen.findByText('dial tcp: connection refused')).toBeTruthy();
  });

  it('takes a proxy URL', async () => {
    await openForm();
    expect(screen.getByRole('button', { name: 'Check' })).toHaveProperty('disabled', true);
    expect(screen.getByText(/It takes a proxy URL/)).toBeTruthy();
  });
});
