import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import type { ComponentType } from 'react';
import { useState } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DATASOURCE_KIND } from '../model/spec';
import type { TestServer } from '../testing/gateway';
import { startServer } from '../testing/gateway';
import { TestPage, writeExpression } from '../testing/page';
import { TieredPrometheusLabelNamesVariableEditor } from './tiered-prometheus-label-names-variable/TieredPrometheusLabelNamesVariableEditor';
import { TieredPrometheusLabelValuesVariableEditor } from './tiered-prometheus-label-values-variable/TieredPrometheusLabelValuesVariableEditor';
import { TieredPrometheusPromQLVariableEditor } from './tiered-prometheus-promql-variable/TieredPrometheusPromQLVariableEditor';

let server: TestServer;

beforeEach(async () => {
  server = await startServer(({ path }, response) => {
    const endpoint = path.slice(path.lastIndexOf('/'));
    response.end(JSON.stringify({ status: 'success', data: answers[endpoint] ?? [] }));
  });
});
afterEach(() => server.close());

/** What the tree view is drawn from; everything else is asked for names, of which there are none. */
const answers: Record<string, unknown> = {
  '/parse_query': { type: 'vectorSelector', name: 'up', offset: 0, matchers: [], timestamp: null, startOrEnd: null },
  '/query': { resultType: 'vector', result: [{ metric: { job: 'node' }, value: [0, '1'] }] },
};

/** Shows an editor; what it reports comes back as its value. */
function open<Spec extends object>(
  Editor: ComponentType<OptionsEditorProps<Spec>>,
  spec: NoInfer<Spec>,
  props: Partial<OptionsEditorProps<Spec>> = {}
) {
  const onChange = vi.fn<(next: Spec) => void>();
  function Form() {
    const [value, setValue] = useState(spec);
    return (
      <Editor
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

/** What the form of Perses 0.52 passes to the editor. */
function settingsOf052() {
  return { runWithOnBlur: false, watchQueryChanges: vi.fn(), setWatchOtherSpecs: vi.fn<(spec: object) => void>() };
}

const datasource = () => screen.findByRole('combobox', { name: 'Tiered Prometheus Datasource' });
const labelName = () => screen.getByRole('textbox', { name: /^Label Name/ });

describe('the editor of a variable', () => {
  it('reports every change of a label values variable', async () => {
    const { user, onChange } = open(TieredPrometheusLabelValuesVariableEditor, { labelName: 'jo' });
    await user.type(labelName(), 'b');
    expect(onChange).toHaveBeenLastCalledWith({ labelName: 'job' });
    await user.click(screen.getByRole('button', { name: 'Add Series Selector' }));
    await user.type(screen.getByRole('textbox', { name: 'Series Selector' }), 'up');
    expect(onChange).toHaveBeenLastCalledWith({ labelName: 'job', matchers: ['up'] });
  });

  it('reports the selectors of a label names variable', async () => {
    const { user, onChange } = open(TieredPrometheusLabelNamesVariableEditor, { matchers: ['up', 'down'] });
    expect(screen.getAllByRole('textbox', { name: 'Series Selector' })).toHaveLength(2);
    await user.type(screen.getByDisplayValue('down'), '2');
    expect(onChange).toHaveBeenLastCalledWith({ matchers: ['up', 'down2'] });
  });

  it('chooses a datasource of our kind, and leaves out the default one', async () => {
    const { user, onChange } = open(TieredPrometheusLabelNamesVariableEditor, {});
    await user.click(await datasource());
    await user.click(await screen.findByRole('option', { name: /^other/ }));
    expect(onChange).toHaveBeenLastCalledWith({ datasource: { kind: DATASOURCE_KIND, name: 'other' } });
    await user.click(await datasource());
    await user.click(await screen.findByRole('option', { name: /^Default/ }));
    expect(onChange).toHaveBeenLastCalledWith({ datasource: undefined });
  });

  it('keeps line breaks of an expression, and asks its own datasource', async () => {
    const { user, onChange } = open(TieredPrometheusPromQLVariableEditor, {
      expr: 'up',
      labelName: '',
      datasource: { kind: DATASOURCE_KIND, name: 'other' },
    });
    await writeExpression('sum by (job) (\n  up\n)');
    await user.type(labelName(), 'job');
    expect(onChange).toHaveBeenLastCalledWith({
      expr: 'sum by (job) (\n  up\n)',
      labelName: 'job',
      datasource: { kind: DATASOURCE_KIND, name: 'other' },
    });
    await user.click(await screen.findByRole('button', { name: 'Open Tree View' }));
    await screen.findByText(/1 result/);
    const asked = server.seen.map(({ path }) => path);
    expect(asked).toContain('/other/api/v1/parse_query');
    expect(asked).toContain('/other/api/v1/query');
  });

  it('leaves it to the button of Perses 0.52 to run, with all that was typed', async () => {
    const queryHandlerSettings = settingsOf052();
    const { user, onChange } = open(
      TieredPrometheusPromQLVariableEditor,
      { expr: '', labelName: '' },
      { queryHandlerSettings }
    );
    await writeExpression('up');
    await user.type(labelName(), 'job');
    expect(onChange).not.toHaveBeenCalled();
    expect(queryHandlerSettings.setWatchOtherSpecs).toHaveBeenLastCalledWith({ expr: 'up', labelName: 'job' });
  });

  it('is not forgotten where Perses 0.52 saves without the button', async () => {
    const { user, onChange } = open(
      TieredPrometheusLabelValuesVariableEditor,
      { labelName: '' },
      { queryHandlerSettings: settingsOf052() }
    );
    await user.type(labelName(), 'job');
    expect(onChange).not.toHaveBeenCalled();
    await user.click(screen.getByRole('button', { name: 'Save' }));
    expect(onChange).toHaveBeenLastCalledWith({ labelName: 'job' });
  });

  it('changes nothing where it only shows', async () => {
    const { user, onChange } = open(
      TieredPrometheusLabelValuesVariableEditor,
      { labelName: 'job', matchers: ['up'] },
      { isReadonly: true }
    );
    await user.type(labelName(), 'x');
    await user.type(screen.getByRole('textbox', { name: 'Series Selector' }), 'x');
    expect(screen.getByRole('button', { name: 'Add Series Selector' })).toHaveProperty('disabled', true);
    await user.click(screen.getByRole('button', { name: 'Save' }));
    expect(onChange).not.toHaveBeenCalled();
  });

  it('can be filled in by keyboard alone', async () => {
    const { user, onChange } = open(TieredPrometheusPromQLVariableEditor, { expr: 'up', labelName: '' });
    (await datasource()).focus();
    for (let presses = 0; presses < 5 && document.activeElement !== labelName(); presses++) {
      await user.tab();
    }
    await user.keyboard('pod');
    expect(onChange).toHaveBeenLastCalledWith({ expr: 'up', labelName: 'pod' });
  });
});
