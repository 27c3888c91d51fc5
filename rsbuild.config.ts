import { pluginModuleFederation } from '@module-federation/rsbuild-plugin';
import type { RsbuildConfig } from '@rsbuild/core';
import { defineConfig } from '@rsbuild/core';
import { pluginReact } from '@rsbuild/plugin-react';
import { pluginSbom } from './rsbuild.sbom';

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

/**
 * Returns how a plugin module is built.
 *
 * @param name of the module, and part of the path at which Perses serves it
 * @param root directory for what is built
 * @param exposes the file of each kind that the module has
 */
export function pluginModule(name: string, root: string, exposes: Record<string, string>): RsbuildConfig {
  return {
    source: { entry: { main: './plugin/module.ts' } },
    output: {
      assetPrefix: `/plugins/${name}/`,
      distPath: { root, js: '__mf/js', css: '__mf/css', font: '__mf/font', image: '__mf/image' },
    },
    plugins: [
      pluginReact(),
      pluginSbom(name, `build/plugin/${name}.cdx.json`),
      pluginModuleFederation({
        name,
        exposes: Object.fromEntries(Object.entries(exposes).map(([kind, file]) => [`./${kind}`, `./plugin/${file}`])),
        shared: Object.fromEntries(
          shared.map((each) => [each, { singleton: true, import: false, requiredVersion: false } as const])
        ),
        dts: false,
      }),
    ],
    // There is no page, hence no entry: the exposed modules are all there is.
    tools: { htmlPlugin: false, rspack: (config) => ({ ...config, entry: {} }) },
  };
}

export default defineConfig(
  pluginModule('TieredPrometheus', 'dist', {
    TieredPrometheusDatasource: 'datasources/tiered-prometheus-datasource/TieredPrometheusDatasource.ts',
    TieredPrometheusTimeSeriesQuery: 'queries/tiered-prometheus-time-series-query/TieredPrometheusTimeSeriesQuery.ts',
    TieredPrometheusAlertThresholdQuery:
      'queries/tiered-prometheus-alert-threshold-query/TieredPrometheusAlertThresholdQuery.ts',
    TieredPrometheusLabelNamesVariable:
      'variables/tiered-prometheus-label-names-variable/TieredPrometheusLabelNamesVariable.ts',
    TieredPrometheusLabelValuesVariable:
      'variables/tiered-prometheus-label-values-variable/TieredPrometheusLabelValuesVariable.ts',
    TieredPrometheusPromQLVariable: 'variables/tiered-prometheus-promql-variable/TieredPrometheusPromQLVariable.ts',
    TieredPrometheusExplorer: 'explore/tiered-prometheus-explorer/TieredPrometheusExplorer.tsx',
  })
);
