// What @perses-dev/plugin-system 0.54 declares of annotations, as far as it is used here. It cannot be installed: its
// dependency @perses-dev/spec is in no registry. scripts/check-annotation-types holds this file to the packed types.

import type { AbsoluteTimeRange } from '@perses-dev/core';
import type { DatasourceStore, OptionsEditorProps, VariableStateMap } from '@perses-dev/plugin-system';
import type { ComponentType } from 'react';

/** A mark on the time axis of all panels of a dashboard: a point in time, or a span. */
export interface AnnotationData {
  /** Milliseconds since 1970. */
  start: number;
  /** Milliseconds since 1970; left out for a point in time. */
  end?: number;
  /** First line of the tooltip. */
  title?: string;
  /** Text below the title. */
  legend?: string;
  /** Names and values that the tooltip lists. */
  tags?: Record<string, string>;
}

/** What Perses passes to an annotation. */
export interface AnnotationContext {
  datasourceStore: DatasourceStore;
  absoluteTimeRange: AbsoluteTimeRange;
  variableState: VariableStateMap;
}

/** A plugin of kind Annotation. */
export interface AnnotationPlugin<Spec> {
  getAnnotationData: (spec: Spec, context: AnnotationContext, abortSignal?: AbortSignal) => Promise<AnnotationData[]>;
  /** Names of the variables that the annotation waits for, and is asked for again when they change. */
  dependsOn?: (spec: Spec, context: AnnotationContext) => { variables?: string[] };
  OptionsEditorComponent?: ComponentType<OptionsEditorProps<Spec>>;
  createInitialOptions: () => Spec;
}
