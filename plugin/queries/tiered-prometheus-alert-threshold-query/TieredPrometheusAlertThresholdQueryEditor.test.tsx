import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { render, screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { TieredPrometheusAlertThresholdQuerySpec } from '../../model/alert-thresholds';
import { messages } from '../../model/validate';
import type { TestServer } from '../../testing/gateway';
import { startServer } from '../../testing/gateway';
import { TestPage } from '../../testing/page';
import { TieredPrometheusAlertThresholdQueryEditor } from './TieredPrometheusAlertThresholdQueryEditor';

type Spec = TieredPrometheusAlertThresholdQuerySpec;

const rule = (alert: string, more: object = {}) => ({
  alert,
  group: 'web',
  title: `${alert} > 0.5`,
  query: 'x > 0.5',
  right: '0.5',
  metrics: ['errors_total', 'requests_total'],
  for: 300,
  labels: { severity: 'critical' },
  state: 'firing',
  ...more,
});
const skipped = [{ alert: 'TargetMissing', group: 'web', query: 'absent(up)', reason: 'it compares nothing' }];

let server: TestServer;
/** Rules for a request that names alerts; error of the gateway if it is a text. */
let chosen: object | string;

beforeEach(async () => {
  chosen = { thresholds: [rule('HighErrors')], skipped };
  server = await startServer(({ parameters }, response) => {
    const all = { thresholds: [rule('HighErrors'), rule('Slow', { labels: { team: 'a"b' } })], skipped };
    const data = Object.keys(parameters).length === 0 ? all : chosen;
    response.statusCode = typeof data === 'string' ? 502 : 200;
    response.end(JSON.stringify(typeof data === 'string' ? { error: data } : { status: 'success', data }));
  });
});
afterEach(() => server.close());

/** Shows the editor; what it reports comes back as its value. */
function open(spec: Spec, props: Partial<OptionsEditorProps<Spec>> = {}) {
  const onChange = vi.fn<(next: Spec) => void>();
  function Form() {
    const [value, setValue] = useState(spec);
    return (
      <TieredPrometheusAlertThresholdQueryEditor
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
    <TestPage url={server.url}>
      <Form />
      <button>Save</button>
    </TestPage>
  );
  return { user: userEvent.setup({ delay: null }), onChange };
}

const field = (name: string) => screen.getByRole('combobox', { name });
const found = () => screen.getByRole('status', { name: 'Thresholds of this query' });

it('completes names of alerts, those without a threshold too', async () => {
  const { user, onChange } = open({});
  await waitFor(() => {
    expect(found().textContent).toContain('HighErrors');
  });
  await user.click(field('Alerts'));
  expect((await screen.findAllByRole('option')).map(({ textContent }) => textContent)).toEqual([
    'HighErrors',
    'Slow',
    'TargetMissing',
  ]);
  await user.click(screen.getByRole('option', { name: 'Slow' }));
  expect(onChange).toHaveBeenLastCalledWith({ alerts: ['Slow'] });
});

it('completes matchers and metrics from the rules', async () => {
  const { user, onChange } = open({});
  await waitFor(() => {
    expect(found().textContent).toContain('HighErrors');
  });
  await user.click(field('Label Matchers'));
  await user.click(await screen.findByRole('option', { name: String.raw`team="a\"b"` }));
  expect(onChange).toHaveBeenLastCalledWith({ matchers: [String.raw`team="a\"b"`] });
  await user.click(field('Metric'));
  await user.click(await screen.findByRole('option', { name: 'errors_total' }));
  await user.click(screen.getByRole('button', { name: 'Save' }));
  expect(onChange).toHaveBeenLastCalledWith({ matchers: [String.raw`team="a\"b"`], metric: 'errors_total' });
});

it('takes what was typed, once Enter is pressed or the focus leaves', async () => {
  const { user, onChange } = open({});
  await user.type(field('Alerts'), '$alert{Enter}Other');
  expect(onChange).toHaveBeenLastCalledWith({ alerts: ['$alert'] });
  await user.type(field('Metric'), 'up');
  expect(onChange).toHaveBeenLastCalledWith({ alerts: ['$alert', 'Other'] });
  await user.type(screen.getByLabelText('Min Step'), '1m');
  await user.click(screen.getByRole('button', { name: 'Save' }));
  expect(onChange).toHaveBeenLastCalledWith({ alerts: ['$alert', 'Other'], metric: 'up', minStep: '1m' });
  await user.clear(field('Metric'));
  await user.click(screen.getByRole('button', { name: 'Save' }));
  expect(JSON.stringify(onChange.mock.lastCall?.[0])).toBe('{"alerts":["$alert","Other"],"minStep":"1m"}');
});

it('leaves a list without entries out', async () => {
  const { user, onChange } = open({ alerts: ['HighErrors'] });
  await user.type(field('Alerts'), '{Backspace}');
  expect(JSON.stringify(onChange.mock.lastCall?.[0])).toBe('{}');
});

it('says what Perses would say of a matcher and a step', async () => {
  const { user } = open({});
  await user.type(field('Label Matchers'), 'severity=critical{Enter}');
  expect(screen.getByText(`severity=critical: ${messages.matcher}`)).toBeTruthy();
  expect(found().textContent).toContain('Correct the label matchers');
  await user.type(screen.getByLabelText('Min Step'), '30');
  expect(screen.getByText(messages.minStep)).toBeTruthy();
  expect(server.seen.filter(({ parameters }) => 'match[]' in parameters)).toEqual([]);
});

it('shows the thresholds of the query, and the rules without one', async () => {
  open({ alerts: ['HighErrors', 'TargetMissing'] });
  await waitFor(() => {
    expect(found().textContent).toContain('HighErrors > 0.5 (group web, for 5m, severity critical, firing)');
  });
  expect(found().textContent).toContain('TargetMissing has no threshold: it compares nothing');
  expect(server.seen.some(({ parameters }) => String(parameters.alert) === 'HighErrors,TargetMissing')).toBe(true);
});

it('says what the gateway says where thresholds are not known', async () => {
  chosen = 'no route to the gateway';
  open({ alerts: ['HighErrors'] });
  await waitFor(() => {
    expect(found().textContent).toContain('no route to the gateway');
  });
});

it('gives the button of Perses 0.52 its own fields and no query, also of the kind before', async () => {
  const queryHandlerSettings = { runWithOnBlur: false, watchQueryChanges: vi.fn(), setWatchOtherSpecs: vi.fn() };
  const { user, onChange } = open({ alerts: ['HighErrors'] }, { queryHandlerSettings });
  expect(queryHandlerSettings.watchQueryChanges).toHaveBeenLastCalledWith(undefined);
  expect(queryHandlerSettings.setWatchOtherSpecs).toHaveBeenLastCalledWith({ alerts: ['HighErrors'] });
  await user.type(field('Metric'), 'up');
  await user.tab();
  expect(onChange).not.toHaveBeenCalled();
  expect(queryHandlerSettings.watchQueryChanges).toHaveBeenLastCalledWith(undefined);
  expect(queryHandlerSettings.setWatchOtherSpecs).toHaveBeenLastCalledWith({ alerts: ['HighErrors'], metric: 'up' });
});

it('changes nothing where it is only read', async () => {
  const { user, onChange } = open({ alerts: ['HighErrors'], metric: 'up' }, { isReadonly: true });
  await user.type(field('Alerts'), 'x{Enter}');
  await user.type(field('Metric'), 'x');
  await user.click(screen.getByRole('button', { name: 'Save' }));
  expect(onChange).not.toHaveBeenCalled();
  expect(screen.getByText('HighErrors')).toBeTruthy();
});
