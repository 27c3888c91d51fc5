import type { RequestHeaders } from '@perses-dev/core';
import type { PrometheusClient } from '@perses-dev/prometheus-plugin/lib/model/prometheus-client';
import {
  healthCheck,
  instantQuery,
  labelNames,
  labelValues,
  metricMetadata,
  parseQuery,
  rangeQuery,
  series,
} from '@perses-dev/prometheus-plugin/lib/model/prometheus-client';
import type { TierChoice, TieredPrometheusDatasourceSpec } from './spec';

/** Request header by which a query chooses its tier itself. */
export const TIER_CHOICE_HEADER = 'X-Tier-Choice';

/** One function of the Prometheus client that asks an endpoint. */
type Call<Params, Result> = (
  params: Params,
  options: { datasourceUrl: string; headers?: RequestHeaders }
) => Promise<Result>;

/**
 * Returns the client of a datasource: the Prometheus API at proxyUrl, which is the path at which Perses forwards to the
 * gateway. The datasource's queryParams are sent with every request; those of a request win. The headers of the
 * datasource's proxy are not sent from here, because Perses adds them itself.
 *
 * It throws where Perses gives no proxyUrl: this kind has no URL that a browser could use directly.
 */
export function createClient(
  spec: TieredPrometheusDatasourceSpec,
  { proxyUrl }: { proxyUrl?: string }
): PrometheusClient {
  if (proxyUrl === undefined) {
    throw new Error('This datasource is reached through the proxy of Perses, which gave no URL for it.');
  }
  const datasourceUrl = proxyUrl;
  function ask<Params extends object, Result>(call: Call<Params, Result>) {
    return (params: Params, headers?: RequestHeaders): Promise<Result> =>
      call({ ...spec.queryParams, ...params }, { datasourceUrl, headers });
  }
  return {
    options: { datasourceUrl },
    healthCheck: healthCheck({ datasourceUrl }),
    instantQuery: ask(instantQuery),
    rangeQuery: ask(rangeQuery),
    labelNames: ask(labelNames),
    labelValues: ask(labelValues),
    metricMetadata: ask(metricMetadata),
    series: ask(series),
    parseQuery: ask(parseQuery),
  };
}

/** Returns a client whose queries ask for a tier; the client itself where the gateway is to choose. */
export function withTierChoice(client: PrometheusClient, choice: TierChoice = 'auto'): PrometheusClient {
  if (choice === 'auto') {
    return client;
  }
  const add = (headers?: RequestHeaders): RequestHeaders => ({ ...headers, [TIER_CHOICE_HEADER]: choice });
  return {
    ...client,
    instantQuery: (params, headers) => client.instantQuery(params, add(headers)),
    rangeQuery: (params, headers) => client.rangeQuery(params, add(headers)),
  };
}
