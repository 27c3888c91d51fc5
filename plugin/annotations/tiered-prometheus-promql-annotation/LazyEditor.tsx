import type { OptionsEditorProps } from '@perses-dev/plugin-system';
import type { ReactElement } from 'react';
import { lazy, Suspense } from 'react';
import type { TieredPrometheusPromQLAnnotationSpec } from '../../model/annotation-spec';

const Editor = lazy(async () => ({
  default: (await import('./TieredPrometheusPromQLAnnotationEditor')).TieredPrometheusPromQLAnnotationEditor,
}));

/** The editor, loaded once it is shown: dashboards that are looked at need none of it. */
export function LazyEditor(props: OptionsEditorProps<TieredPrometheusPromQLAnnotationSpec>): ReactElement {
  return (
    <Suspense fallback={null}>
      <Editor {...props} />
    </Suspense>
  );
}
