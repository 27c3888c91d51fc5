import type { TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import { createContext } from 'react';

/**
 * How the queries run that are edited below: over the time range, or at its end (instant). Our explorer says it; Perses
 * tells no editor, and its panels run over the time range unless they are tables of newest values.
 */
export const QueryModeContext = createContext<NonNullable<TimeSeriesQueryContext['mode']>>('range');
