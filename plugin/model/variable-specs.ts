import type { DatasourceSelectValue } from '@perses-dev/plugin-system';
import type { TieredPrometheusDatasourceSelector } from './spec';

/** What the specs of all variables have. */
export interface TieredPrometheusVariableSpec {
  /** Datasource or the variable that names it. Left out: the default one of this kind. */
  datasource?: DatasourceSelectValue<TieredPrometheusDatasourceSelector>;
}

/** Spec of a TieredPrometheusLabelNamesVariable: that of PrometheusLabelNamesVariable. */
export interface TieredPrometheusLabelNamesVariableSpec extends TieredPrometheusVariableSpec {
  /** Series selectors; the options are the labels of the series that match at least one. Left out: of all series. */
  matchers?: string[];
}

/** Spec of a TieredPrometheusLabelValuesVariable: that of PrometheusLabelValuesVariable. */
export interface TieredPrometheusLabelValuesVariableSpec extends TieredPrometheusVariableSpec {
  /** Label whose values are the options. */
  labelName: string;
  /** Series selectors; the options are the values on series that match at least one. Left out: on all series. */
  matchers?: string[];
}

/** Spec of a TieredPrometheusPromQLVariable: that of PrometheusPromQLVariable. */
export interface TieredPrometheusPromQLVariableSpec extends TieredPrometheusVariableSpec {
  /** PromQL, evaluated now. */
  expr: string;
  /** Label of the result whose values are the options. */
  labelName: string;
}
