import type { QueryDefinition } from '@perses-dev/core';
import type { TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import { useAllVariableValues, useDatasourceStore, useSuggestedStepMs, useTimeRange } from '@perses-dev/plugin-system';
import { useEffect, useRef, useState } from 'react';
import type { LiveState } from '../../model/live-query';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { followTimeSeriesQuery } from '../../queries/tiered-prometheus-time-series-query/follow-time-series-query';

/** The least time between two redraws, in milliseconds. */
const REDRAW_MS = 100;

/**
 * Draws once for all that asks for it within a frame, and not for every one: a chart that gets other data forgets what is
 * just being selected in it, so it waits for as long as a button of the mouse is pressed. A hidden page is not drawn.
 */
function redrawnBy(draw: () => void): { ask: () => void; stop: () => void } {
  let isAsked = false;
  let isPressed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let frame: number | undefined;
  const next = (): void => {
    timer = undefined;
    if (isAsked && !isPressed) {
      frame ??= requestAnimationFrame(() => {
        frame = undefined;
        if (!isPressed) {
          isAsked = false;
          draw();
        }
        timer ??= setTimeout(next, REDRAW_MS);
      });
    }
  };
  const press = (event: PointerEvent): void => {
    isPressed = event.type === 'pointerdown';
    if (timer === undefined) {
      next();
    }
  };
  const presses = ['pointerdown', 'pointerup', 'pointercancel'] as const;
  presses.forEach((type) => {
    window.addEventListener(type, press, true);
  });
  return {
    ask: () => {
      isAsked = true;
      if (timer === undefined) {
        next();
      }
    },
    stop: () => {
      presses.forEach((type) => {
        window.removeEventListener(type, press, true);
      });
      clearTimeout(timer);
      cancelAnimationFrame(frame ?? 0);
    },
  };
}

/** What is followed, and how. */
interface Live {
  queries: QueryDefinition[];
  view: 'table' | 'graph';
  /** Width of the graph, in pixels, from which the step follows. Undefined until it is known. */
  width: number | undefined;
  /** Another number begins new streams. Undefined: nothing is followed. */
  run: number | undefined;
}

/**
 * Follows queries live and returns their states, in the same order; empty before anything happened. New streams begin, and
 * the old ones end, with other queries, another time range or another run. The step stays what it was when the streams
 * began, even if the width of the page changes, as it does for queries that are not live.
 */
export function useLive({ queries, view, width, run }: Live): LiveState[] {
  const { timeRange, absoluteTimeRange, refreshKey } = useTimeRange();
  const datasourceStore = useDatasourceStore();
  const variableState = useAllVariableValues();
  const suggestedStepMs = useSuggestedStepMs(width);
  const latest = useRef<TimeSeriesQueryContext>();
  latest.current = {
    timeRange: absoluteTimeRange,
    datasourceStore,
    variableState,
    ...(view === 'graph' ? { mode: 'range', suggestedStepMs } : { mode: 'instant' }),
    refreshKey,
  } as TimeSeriesQueryContext;

  const isReady = run !== undefined && (view === 'table' || width !== undefined);
  const range = 'pastDuration' in timeRange ? timeRange.pastDuration : undefined;
  const key = isReady && range !== undefined ? JSON.stringify({ queries, view, range, run }) : undefined;
  const [shown, setShown] = useState<{ key?: string; states: LiveState[] }>({ states: [] });
  useEffect(() => {
    const context = latest.current;
    if (key === undefined || context === undefined) {
      return;
    }
    const end = new AbortController();
    const followed = (JSON.parse(key) as Pick<Live, 'queries'>).queries;
    const states = followed.map((): LiveState => ({ connection: 'connecting' }));
    const redraw = redrawnBy(() => {
      setShown({ key, states: [...states] });
    });
    const showAt = (index: number) => (state: LiveState) => {
      if (!end.signal.aborted) {
        states[index] = state;
        redraw.ask();
      }
    };
    followed.forEach(({ spec }, index) => {
      const show = showAt(index);
      followTimeSeriesQuery(
        spec.plugin.spec as unknown as TieredPrometheusTimeSeriesQuerySpec,
        context,
        show,
        end.signal
      ).catch((error: unknown) => {
        show({ connection: 'stopped', error: error instanceof Error ? error.message : String(error) });
      });
    });
    setShown({ key, states: [...states] });
    return () => {
      end.abort();
      redraw.stop();
    };
  }, [key]);
  return shown.key === key && key !== undefined ? shown.states : [];
}
