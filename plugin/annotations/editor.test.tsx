import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { useState } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TieredPrometheusPromQLAnnotationSpec } from '../model/annotation-spec';
import { firingAlerts } from '../model/annotation-spec';
import { DATASOURCE_KIND } from '../model/spec';
import type { TestServer } from '../testing/gateway';
import { startServer } from '../testing/gateway';
import { TestPage, writeExpression } from '../testing/page';
import { TieredPrometheusPromQLAnnotationEditor } from './tiered-prometheus-promql-annotation/TieredPrometheusPromQLAnnotationEditor';

type Spec = TieredPrometheusPromQLAnnotationSpec;

let server: TestServer;

beforeEach(async () => {
  server = await startServer((_, response) => response.end('{"status":"success","data":[]}'));
});
afterEach(() => server.close());

/** Shows the editor; what it reports comes back as its value. */
function open(spec: Spec, isReadonly = false) {
  const onChange = vi.fn<(next: Spec) => void>();
  function Form() {
    const [value, setValue] = useState(spec);
    return (
      <TieredPrometheusPromQLAnnotationEditor
        isReadonly={isReadonly}
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
    </TestPage>
  );
  return { user: userEvent.setup({ delay: null }), onChange };
}

const field = (name: RegExp) => screen.getByRole('textbox', { name });
const split = () => screen.getByRole('checkbox', { name: /^Split at gaps/ });

describe('the editor of an annotation', () => {
  it('reports every change', async () => {
    const { user, onChange } = open({ expr: '' });
    await writeExpression('up == 0');
    await user.type(field(/^Title/), '{{{{pod}}');
    await user.type(field(/^Legend/), 'x');
    await user.type(screen.getByRole('combobox', { name: /^Tags/ }), 'pod{Enter}node{Enter}');
    await user.click(split());
    expect(onChange).toHaveBeenLastCalledWith({
      expr: 'up == 0',
      title: '{{pod}}',
      legend: 'x',
      tags: ['pod', 'node'],
      splitAtGaps: true,
    });
  });

  it('leaves out what is emptied', async () => {
    const { user, onChange } = open({ expr: 'up', title: 'a', legend: 'b', tags: ['c'], splitAtGaps: true });
    await user.clear(field(/^Title/));
    await user.clear(field(/^Legend/));
    await user.click(screen.getByRole('combobox', { name: /^Tags/ }));
    await user.keyboard('{Backspace}');
    await user.click(split());
    expect(JSON.stringify(onChange.mock.lastCall?.[0])).toBe('{"expr":"up"}');
  });

  it('fills in the marks of firing alerts, and keeps the datasource', async () => {
    const datasource = { kind: DATASOURCE_KIND, name: 'other' } as const;
    const { user, onChange } = open({ expr: 'up', datasource });
    await user.click(screen.getByRole('button', { name: 'Mark firing alerts' }));
    expect(onChange).toHaveBeenLastCalledWith({ ...firingAlerts, datasource });
    expect(screen.getByLabelText('PromQL Expression').textContent).toBe(firingAlerts.expr);
    expect(field(/^Title/)).toHaveProperty('value', '{{alertname}}');
  });

  it('chooses a datasource of our kind', async () => {
    const { user, onChange } = open({ expr: 'up' });
    await user.click(await screen.findByRole('combobox', { name: 'Tiered Prometheus Datasource' }));
    await user.click(await screen.findByRole('option', { name: /^other/ }));
    expect(onChange).toHaveBeenLastCalledWith({ expr: 'up', datasource: { kind: DATASOURCE_KIND, name: 'other' } });
  });

  it('changes nothing where it is only read', () => {
    open({ expr: 'up', title: 'a', tags: ['b'] }, true);
    expect(field(/^Title/)).toHaveProperty('readOnly', true);
    expect(screen.getByRole('combobox', { name: /^Tags/ })).toHaveProperty('readOnly', true);
    expect(split()).toHaveProperty('disabled', true);
    expect(screen.queryByRole('button', { name: 'Mark firing alerts' })).toBeNull();
  });
});
