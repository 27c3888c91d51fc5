import { DATASOURCE_KIND } from '../model/spec';

/** A panel of the comparison: how it is drawn, and the query, which fits either plugin. */
export interface ComparedPanel {
  title: string;
  plugin: { kind: string; spec: object };
  query: { query: string; seriesNameFormat?: string; minStep?: string; resolution?: number };
  /** How the kind of panel asks. */
  mode: 'range' | 'instant';
}

const chart = (legend: object): ComparedPanel['plugin'] => ({ kind: 'TimeSeriesChart', spec: { legend } });

/** What users draw most: rates, quantiles, histograms, tables, numbers, and legends with formats. */
export const comparedPanels: ComparedPanel[] = [
  {
    title: 'Rate by job',
    plugin: chart({ position: 'bottom', mode: 'list' }),
    query: { query: 'sum by (job) (rate(http_requests_total[$__rate_interval]))', seriesNameFormat: '{{job}}' },
    mode: 'range',
  },
  {
    title: 'Rate of each series, named by its labels',
    plugin: chart({ position: 'right', mode: 'list' }),
    query: { query: 'rate(http_requests_total{job="cart"}[5m])' },
    mode: 'range',
  },
  {
    title: 'Quantile of classic buckets',
    plugin: chart({ position: 'bottom', mode: 'list' }),
    query: {
      query: 'histogram_quantile(0.9, sum by (job, le) (rate(http_request_duration_seconds_bucket[$__rate_interval])))',
      seriesNameFormat: '90 % of {{job}}',
    },
    mode: 'range',
  },
  {
    title: 'Quantile of a native histogram',
    plugin: chart({ position: 'bottom', mode: 'list' }),
    query: {
      query: 'histogram_quantile(0.9, sum by (job) (rate(http_response_size_bytes[$__rate_interval])))',
      seriesNameFormat: '{{job}}',
    },
    mode: 'range',
  },
  {
    title: 'Native histogram',
    plugin: { kind: 'HistogramChart', spec: { format: { unit: 'bytes' } } },
    query: { query: 'sum(rate(http_response_size_bytes{job="cart"}[5m]))' },
    mode: 'instant',
  },
  {
    title: 'Instant table',
    plugin: {
      kind: 'Table',
      spec: {
        density: 'compact',
        columnSettings: ['__name__', 'job', 'timestamp'].map((name) => ({ name, hide: true })),
      },
    },
    query: { query: 'topk(5, process_resident_memory_bytes)' },
    mode: 'instant',
  },
  {
    title: 'Stat',
    plugin: { kind: 'StatChart', spec: { calculation: 'mean', format: { unit: 'percent-decimal' }, sparkline: {} } },
    query: { query: 'sum(rate(http_requests_total{code=~"4.."}[5m])) / sum(rate(http_requests_total[5m]))' },
    mode: 'range',
  },
  {
    title: 'Gauge',
    plugin: { kind: 'GaugeChart', spec: { calculation: 'last-number', format: { unit: 'decimal' }, max: 4 } },
    query: { query: 'node_load1', seriesNameFormat: '{{instance}} of {{job}}' },
    mode: 'range',
  },
  {
    title: 'Legend with values',
    plugin: chart({ position: 'bottom', mode: 'table', values: ['min', 'max', 'mean', 'last'] }),
    query: {
      query: 'avg_over_time(node_memory_MemAvailable_bytes[$__interval])',
      seriesNameFormat: '{{instance}} ({{missing}})',
      minStep: '2m',
    },
    mode: 'range',
  },
  {
    title: 'Table over time',
    plugin: { kind: 'TimeSeriesTable', spec: {} },
    query: { query: 'count by (job) (up) > bool 3 or vector(time())', minStep: '10m', resolution: 2 },
    mode: 'range',
  },
];

/** The same panels as a dashboard whose queries are of one kind. */
export function comparisonDashboard(
  name: string,
  kind: 'PrometheusTimeSeriesQuery' | 'TieredPrometheusTimeSeriesQuery',
  more: object
): object {
  const height = 8;
  return {
    kind: 'Dashboard',
    metadata: { project: 'shop', name },
    spec: {
      duration: '1h',
      variables: [],
      panels: Object.fromEntries(
        comparedPanels.map(({ title, plugin, query }, index) => [
          `panel${String(index)}`,
          {
            kind: 'Panel',
            spec: {
              display: { name: title },
              plugin,
              queries: [{ kind: 'TimeSeriesQuery', spec: { plugin: { kind, spec: { ...query, ...more } } } }],
            },
          },
        ])
      ),
      layouts: [
        {
          kind: 'Grid',
          spec: {
            items: comparedPanels.map((_, index) => ({
              x: (index % 3) * 8,
              y: Math.floor(index / 3) * height,
              width: 8,
              height,
              content: { $ref: `#/spec/panels/panel${String(index)}` },
            })),
          },
        },
      ],
    },
  };
}

/** A global datasource of the Prometheus plugin that leads to a URL, with headers that Perses adds. */
export function prometheusDatasource(name: string, url: string, headers?: Record<string, string>): object {
  return {
    kind: 'GlobalDatasource',
    metadata: { name },
    spec: {
      default: false,
      plugin: { kind: 'PrometheusDatasource', spec: { proxy: { kind: 'HTTPProxy', spec: { url, headers } } } },
    },
  };
}

/** A global datasource of our kind with the tiers of the gateway. */
export function tieredDatasource(name: string, gateway: string): object {
  return {
    kind: 'GlobalDatasource',
    metadata: { name },
    spec: {
      default: false,
      plugin: {
        kind: DATASOURCE_KIND,
        spec: { proxy: { kind: 'HTTPProxy', spec: { url: `${gateway}/proxy/globaldatasources/${name}` } } },
      },
    },
  };
}

/** A dashboard of 5 minutes with one panel, "Requests", that asks the datasource of that name. */
export function requestsDashboard(name: string, datasource: string): object {
  const plugin = {
    kind: 'TieredPrometheusTimeSeriesQuery',
    spec: {
      datasource: { kind: DATASOURCE_KIND, name: datasource },
      query: 'sum by (job) (rate(http_requests_total[5m]))',
      seriesNameFormat: '{{job}}',
    },
  };
  const requests = {
    kind: 'Panel',
    spec: {
      display: { name: 'Requests' },
      plugin: chart({ position: 'bottom', mode: 'list' }),
      queries: [{ kind: 'TimeSeriesQuery', spec: { plugin } }],
    },
  };
  const items = [{ x: 0, y: 0, width: 16, height: 10, content: { $ref: '#/spec/panels/requests' } }];
  return {
    kind: 'Dashboard',
    metadata: { project: 'shop', name },
    spec: { duration: '5m', variables: [], panels: { requests }, layouts: [{ kind: 'Grid', spec: { items } }] },
  };
}
