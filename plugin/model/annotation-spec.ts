import type { DatasourceSelectValue } from '@perses-dev/plugin-system';
import type { TieredPrometheusDatasourceSelector } from './spec';

/** Spec of a TieredPrometheusPromQLAnnotation: that of PrometheusPromQLAnnotation, and splitAtGaps. */
export interface TieredPrometheusPromQLAnnotationSpec {
  /** Datasource or the variable that names it. Left out: the default one of this kind. */
  datasource?: DatasourceSelectValue<TieredPrometheusDatasourceSelector>;
  /** PromQL, with Perses variables. Each series of the result is marked from its first sample to its last one. */
  expr: string;
  /** First line of the tooltip, such as "Deployment of {{deployment}}". */
  title?: string;
  /** Text below the title. */
  legend?: string;
  /** Names of the labels that the tooltip lists. Left out or empty: all of them. */
  tags?: string[];
  /** Whether a series is marked anew after each gap, where it has no sample at a step. Left out: marked once. */
  splitAtGaps?: boolean;
}

/** Marks when alerts were firing, one mark for each time that an alert fired. */
export const firingAlerts: Readonly<Omit<TieredPrometheusPromQLAnnotationSpec, 'datasource'>> = {
  expr: 'ALERTS{alertstate="firing"}',
  title: '{{alertname}}',
  legend: '{{alertname}} was firing',
  splitAtGaps: true,
};
