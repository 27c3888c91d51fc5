import type { Definition, QueryDefinition, UnknownSpec } from '@perses-dev/core';
import * as pluginSystem from '@perses-dev/plugin-system';

// One bundle runs in every supported release of Perses, on the packages that the page brings. Where they differ, what is
// there says which release it is: no package tells its version.

/** Whether editors report into a draft, and a button of the page runs it: from 0.53 on. In 0.52 what is reported runs. */
export const reportsAreDrafts: boolean = 'TimeRangeProviderBasic' in pluginSystem;

/** Whether DataQueriesProvider finds out the type of a query by itself: up to 0.53. */
const takesPlugins: boolean = 'useQueryType' in pluginSystem;

/** Returns queries as the definitions that DataQueriesProvider takes: their plugins up to 0.53, themselves from 0.54 on. */
export function dataQueryDefinitions(queries: QueryDefinition[]): Definition<UnknownSpec>[] {
  return takesPlugins
    ? queries.map(({ spec }) => spec.plugin)
    : // The types are those of 0.52.
      (queries as unknown as Definition<UnknownSpec>[]);
}
