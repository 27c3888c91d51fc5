import { pluginModuleFederation } from '@module-federation/rsbuild-plugin';
import { defineConfig } from '@rsbuild/core';
import { pluginReact } from '@rsbuild/plugin-react';

/** Name of the module, and part of the path at which Perses serves it. */
const name = 'TieredPrometheus';

/** Packages of which the page has exactly one copy, the one that Perses brings; none of them is bundled. */
const shared = [
  '@emotion/react',
  '@emotion/styled',
  '@perses-dev/components',
  '@perses-dev/dashboards',
  '@perses-dev/explore',
  '@perses-dev/plugin-system',
  '@tanstack/react-query',
  'date-fns',
  'date-fns-tz',
  'echarts',
  'immer',
  'lodash',
  'react',
  'react-dom',
  'react-hook-form',
  'react-router-dom',
  'use-resize-observer',
];

export default defineConfig({
  source: { entry: { main: './plugin/module.ts' } },
  output: {
    assetPrefix: `/plugins/${name}/`,
    distPath: { root: 'dist', js: '__mf/js', css: '__mf/css', font: '__mf/font', image: '__mf/image' },
  },
  plugins: [
    pluginReact(),
    pluginModuleFederation({
      name,
      exposes: {
        './TieredPrometheusDatasource':
          './plugin/datasources/tiered-prometheus-datasource/TieredPrometheusDatasource.ts',
        './TieredPrometheusTimeSeriesQuery':
          './plugin/queries/tiered-prometheus-time-series-query/TieredPrometheusTimeSeriesQuery.ts',
        './TieredPrometheusAlertThresholdQuery':
          './plugin/queries/tiered-prometheus-alert-threshold-query/TieredPrometheusAlertThresholdQuery.ts',
        './TieredPrometheusLabelNamesVariable':
          './plugin/variables/tiered-prometheus-label-names-variable/TieredPrometheusLabelNamesVariable.ts',
        './TieredPrometheusLabelValuesVariable':
          './plugin/variables/tiered-prometheus-label-values-variable/TieredPrometheusLabelValuesVariable.ts',
        './TieredPrometheusPromQLVariable':
          './plugin/variables/tiered-prometheus-promql-variable/TieredPrometheusPromQLVariable.ts',
        './TieredPrometheusExplorer': './plugin/explore/tiered-prometheus-explorer/TieredPrometheusExplorer.tsx',
      },
      shared: Object.fromEntries(
        shared.map((each) => [each, { singleton: true, import: false, requiredVersion: false } as const])
      ),
      dts: false,
    }),
  ],
  // There is no page, hence no entry: the exposed modules are all there is.
  tools: { htmlPlugin: false, rspack: (config) => ({ ...config, entry: {} }) },
});
