import { PrometheusDatasource } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-datasource';
import type { DatasourcePlugin } from '@perses-dev/plugin-system';
import { inPersesTheme } from '../../components/in-perses-theme';
import type { TieredPrometheusClient } from '../../model/client';
import { createClient } from '../../model/client';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';
import { TieredPrometheusDatasourceEditor } from './TieredPrometheusDatasourceEditor';

/** The datasource plugin: a Prometheus API that is answered by a hot or a cold tier. */
export const TieredPrometheusDatasource: DatasourcePlugin<TieredPrometheusDatasourceSpec, TieredPrometheusClient> = {
  createClient,
  OptionsEditorComponent: inPersesTheme(TieredPrometheusDatasourceEditor),
  createInitialOptions: () => ({ proxy: { kind: 'HTTPProxy', spec: { url: '' } } }),
  // $__interval and its like mean here what they mean there; the source keeps the two lists apart.
  getBuiltinVariableDefinitions: () =>
    (PrometheusDatasource.getBuiltinVariableDefinitions?.() ?? []).map((definition) => ({
      ...definition,
      spec: { ...definition.spec, source: 'Tiered Prometheus' },
    })),
};
