import type { UnixTimestampSeconds } from '@perses-dev/prometheus-plugin/lib/model/api-types';

/** Endpoint of the Prometheus API about which a decision is asked. */
export type ExplainedEndpoint = 'query' | 'query_range' | 'series' | 'labels' | 'label_values' | 'query_exemplars';

/** The request about which a decision is asked: the parameters that it would have, and its endpoint. */
export interface ExplainRequestParameters {
  /** Left out: query_range where start and step are given, else query. */
  endpoint?: ExplainedEndpoint;
  query?: string;
  start?: UnixTimestampSeconds;
  end?: UnixTimestampSeconds;
  /** Seconds between two points of a range query. */
  step?: number;
  /** Time of an instant query. */
  time?: UnixTimestampSeconds;
  'match[]'?: string[];
}

/** What the gateway knows of a tier while it decides. */
export interface ExplainedTier {
  endpoint: string;
  available: boolean;
  /** Time of the oldest sample of hot, RFC 3339. */
  coverage_start?: string;
  /** Time of the newest sample of cold, RFC 3339. */
  coverage_end?: string;
}

/** The decision of the gateway for a query that it did not run. */
export interface Explanation {
  /** Tier that would answer. */
  tier: string;
  /** Why this tier: one of the reasons of the documentation. */
  reason: string;
  /** The decision in one line, for people. */
  sentence: string;
  /** External labels of the source of hot that would answer, such as {cluster="eu-1"}. */
  source?: string;
  /** Tier that would answer if this one failed. Left out: none would. */
  fallback?: string;
  /** Warnings that the answer would carry. */
  warnings?: string[];
  /** Times of the oldest and newest sample that the query can read, RFC 3339; how much it reads at once, a duration. */
  extent?: { oldest?: string; newest?: string; span?: string; nothing?: boolean };
  /** Span from which on cold is preferred, a duration. */
  threshold?: string;
  hot?: ExplainedTier;
  cold?: ExplainedTier;
}
