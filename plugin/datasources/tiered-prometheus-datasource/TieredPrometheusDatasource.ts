import type { DatasourcePlugin } from '@perses-dev/plugin-system';
import type { TieredPrometheusClient } from '../../model/client';
import { createClient } from '../../model/client';
import type { TieredPrometheusDatasourceSpec } from '../../model/spec';

/** The datasource plugin: a Prometheus API that is answered by a hot or a cold tier. */
export const TieredPrometheusDatasource: DatasourcePlugin<TieredPrometheusDatasourceSpec, TieredPrometheusClient> = {
  createClient,
  createInitialOptions: () => ({ proxy: { kind: 'HTTPProxy', spec: { url: '' } } }),
};
