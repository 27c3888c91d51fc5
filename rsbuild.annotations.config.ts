import { defineConfig } from '@rsbuild/core';
import { pluginModule } from './rsbuild.config.ts';

/** The kinds that Perses knows from 0.54 on, a module of their own: earlier releases skip it, and load the other one. */
export default defineConfig(
  pluginModule('TieredPrometheusAnnotations', 'build/annotations', {
    TieredPrometheusPromQLAnnotation: 'annotations/tiered-prometheus-promql-annotation/TieredPrometheusPromQLAnnotation.ts',
  })
);
