import { inPersesTheme } from '../../components/in-perses-theme';
import type { TieredPrometheusPromQLAnnotationSpec } from '../../model/annotation-spec';
import { variableNames } from '../../model/dashboard-datasource';
import type { AnnotationPlugin } from '../perses-054';
import { getAnnotationData } from './get-annotation-data';
import { LazyEditor } from './LazyEditor';

/** The annotation plugin: marks where a query of a TieredPrometheusDatasource has samples. */
export const TieredPrometheusPromQLAnnotation: AnnotationPlugin<TieredPrometheusPromQLAnnotationSpec> = {
  getAnnotationData,
  OptionsEditorComponent: inPersesTheme(LazyEditor),
  createInitialOptions: () => ({ expr: '' }),
  dependsOn: ({ datasource, expr, title, legend }, { variableState }) => ({
    variables: variableNames(datasource, [expr, title, legend], variableState),
  }),
};
