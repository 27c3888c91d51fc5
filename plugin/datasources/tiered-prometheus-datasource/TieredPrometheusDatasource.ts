import type { PrometheusClient } from '@perses-dev/prometheus-plugin/lib/model/prometheus-client';
import type { DatasourcePlugin } from '@perses-dev/plugin-system';
import { createClient } from '../../model/client';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';

/** The datasource plugin: a Prometheus API that is answered by a hot or a cold tier. */
export const TieredPrometheusDatasource: DatasourcePlugin<TieredPrometheusDatasourceSpec, PrometheusClient> = {
  createClient,
  createInitialOptions: () => ({ proxy: { kind: 'HTTPProxy', spec: { url: '' } } }),
};
