import type { HTTPAllowedEndpoint } from '@perses-dev/core';

/**
 * The endpoints that this plugin asks, for datasources whose allowedEndpoints let nothing else through. Perses looks for a
 * pattern anywhere in the path, hence the anchors.
 */
export const endpointsOfPlugin: readonly HTTPAllowedEndpoint[] = [
  { endpointPattern: '^/api/v1/query$', method: 'POST' },
  { endpointPattern: '^/api/v1/query_range$', method: 'POST' },
  { endpointPattern: '^/api/v1/labels$', method: 'POST' },
  { endpointPattern: '^/api/v1/label/[^/]+/values$', method: 'GET' },
  { endpointPattern: '^/api/v1/series$', method: 'POST' },
  { endpointPattern: '^/api/v1/metadata$', method: 'GET' },
  { endpointPattern: '^/api/v1/parse_query$', method: 'POST' },
  { endpointPattern: '^/api/v1/status/flags$', method: 'GET' },
  { endpointPattern: '^/api/v1/alert_thresholds$', method: 'POST' },
  { endpointPattern: '^/api/v1/datasources/explain$', method: 'POST' },
  { endpointPattern: '^/api/v1/datasources/check$', method: 'POST' },
  { endpointPattern: '^/api/v1/metrics/live$', method: 'GET' },
  { endpointPattern: '^/-/healthy$', method: 'GET' },
];
