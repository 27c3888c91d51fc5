import type { DurationString, HTTPProxy } from '@perses-dev/core';
import type { DatasourceSelectValue } from '@perses-dev/plugin-system';

/** Kind of the datasource plugin, as datasources and the selectors of queries write it. */
export const DATASOURCE_KIND = 'TieredPrometheusDatasource';

/** Selects a datasource of this kind; without a name, the default one. */
export interface TieredPrometheusDatasourceSelector {
  kind: typeof DATASOURCE_KIND;
  name?: string;
}

/** Selects the default datasource of this kind. */
export const DEFAULT_DATASOURCE: TieredPrometheusDatasourceSelector = { kind: DATASOURCE_KIND };

/** A service of the cluster that the gateway runs in, and one of its ports. */
export interface Service {
  /** Namespace of the service, a DNS-1123 label. */
  namespace: string;
  /** Name of the service, a DNS-1123 label. */
  name: string;
  /** Number or name of the port. Left out: the only port of the service, or the one named as web ports are. */
  port?: number | string;
  /** Protocol on this port. Left out: what the service says of the port, and otherwise http. */
  scheme?: 'http' | 'https';
}

/** The place of a Prometheus API: url or service, not both. */
export interface Tier {
  /** URL of the Prometheus API, without the trailing /api/v1. */
  url?: string;
  service?: Service;
}

/** The most hot tiers that a datasource can have. */
export const MAX_HOT_TIERS = 200;

/** A tier with recent data. With a name and neither url nor service, it is the gateway's hot tier of this name. */
export interface HotTier extends Tier {
  /** Differs from the names of the other hot tiers. */
  name?: string;
  /** How long it keeps its data, such as "15d". Left out: the gateway measures it. */
  retention?: DurationString;
}

/** The tier with all data. */
export interface ColdTier extends Tier {
  /** How far its newest data is behind the present, such as "2h". Left out: not at all. */
  lag?: DurationString;
}

/** The hot tiers of a spec as a list; empty where they are those of the gateway. */
export function hotTiersOf({ hot }: Pick<TieredPrometheusDatasourceSpec, 'hot'>): readonly HotTier[] {
  return hot === undefined ? [] : Array.isArray(hot) ? hot : [hot];
}

/** One tier for each query (route), or cut range queries (split). */
export type Strategy = 'route' | 'split';

/**
 * Spec of a TieredPrometheusDatasource. The CUE model of the same name says which values are valid; the gateway decides
 * what is left out.
 */
export interface TieredPrometheusDatasourceSpec {
  /** Span of time from which on a query goes to cold, such as "15m", if both tiers can answer it. */
  threshold?: DurationString;
  /** Whether a range query may be cut, so that hot answers its newest steps and cold the older ones. */
  strategy?: Strategy;
  /** Whether that is done although hot has several replicas. */
  splitAcrossReplicas?: boolean;
  /** Whether answers of cold that can no longer change are kept. */
  cache?: boolean;
  /** One tier, or a list of 1 to 200, such as the Prometheus of each cluster. */
  hot?: HotTier | HotTier[];
  cold?: ColdTier;
  /** Interval at which the metrics are scraped, such as "30s": the smallest step of a query. */
  scrapeInterval?: DurationString;
  /** Parameters that are sent along with every query, with Perses variables. */
  queryParams?: Record<string, string>;
  /** Makes Perses forward the queries to the gateway. */
  proxy: HTTPProxy;
}

/** Who chooses the tier of a query: the rules of the gateway (auto), or the query itself. */
export type TierChoice = 'auto' | 'hot' | 'cold';

/** Spec of a TieredPrometheusTimeSeriesQuery: that of PrometheusTimeSeriesQuery and the choice of a tier. */
export interface TieredPrometheusTimeSeriesQuerySpec {
  /** PromQL, with Perses variables. */
  query: string;
  /** Datasource or the variable that names it. Left out: the default one of this kind. */
  datasource?: DatasourceSelectValue<TieredPrometheusDatasourceSelector>;
  /** Name of a series in legends, such as "{{instance}}". Left out: all its labels. */
  seriesNameFormat?: string;
  /** Smallest step, such as "30s". Left out: the scrapeInterval of the datasource. */
  minStep?: DurationString;
  /** Multiplies the step that suits the width of the panel, and so divides the number of its points. Left out: 1. */
  resolution?: number;
  /** Whether the query is for the end of the time range, whatever the panel asks for. Left out: what the panel asks for. */
  instant?: boolean;
  /** Overrides the choice of the gateway. Left out: auto. */
  tier?: TierChoice;
}
