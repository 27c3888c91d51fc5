import { getFormattedPrometheusSeriesName } from '@perses-dev/prometheus-plugin/lib/utils';
import type { TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import type { LiveRequestParameters, TieredPrometheusClient } from '../../model/client';
import { withTierChoice } from '../../model/client';
import { replaceInText } from '../../model/interpolation';
import { followLive } from '../../model/live';
import type { LiveState } from '../../model/live-query';
import { LiveQuery } from '../../model/live-query';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { run } from './get-time-series-data';

/**
 * Follows a query live until the signal ends it: show gets its state each time something happens. Query and step are those
 * of the very request that getTimeSeriesData would send. The window is as long as the time range; where the mode or the
 * query is instant, it is the newest step alone.
 */
export async function followTimeSeriesQuery(
  spec: TieredPrometheusTimeSeriesQuerySpec,
  context: TimeSeriesQueryContext,
  show: (state: LiveState) => void,
  signal: AbortSignal
): Promise<void> {
  if (spec.instant) {
    return followTimeSeriesQuery({ ...spec, instant: false }, { ...context, mode: 'instant' }, show, signal);
  }
  const request = await requestOf(spec, context);
  if (request === undefined || signal.aborted) {
    return;
  }
  const { client, parameters } = request;
  const { query } = parameters;
  const format = spec.seriesNameFormat && replaceInText(spec.seriesNameFormat, context.variableState);
  const live = new LiveQuery({
    query,
    range: context.mode === 'instant' ? 0 : parameters.range,
    nameOf: (metric) => getFormattedPrometheusSeriesName(query, metric, format),
  });
  await followLive(
    (headers, connection) => client.live(parameters, headers, connection),
    (update) => {
      show(live.apply(update));
    },
    signal
  );
}

/** What a query asks, and whom. Undefined where it asks nothing. */
async function requestOf(
  spec: TieredPrometheusTimeSeriesQuerySpec,
  context: TimeSeriesQueryContext
): Promise<{ client: TieredPrometheusClient; parameters: LiveRequestParameters } | undefined> {
  const { start, end } = context.timeRange;
  let request: { client: TieredPrometheusClient; parameters: LiveRequestParameters } | undefined;
  await run(spec, { ...context, mode: 'range' }, (original) => {
    const client = withTierChoice(original, spec.tier);
    return {
      ...client,
      rangeQuery: ({ query, step }) => {
        const length = Math.round((end.getTime() - start.getTime()) / 1000);
        const range = context.mode === 'instant' ? step : Math.max(step, length);
        request = { client, parameters: { query, step, range } };
        return Promise.resolve({ status: 'success', data: { resultType: 'matrix', result: [] } });
      },
    };
  });
  return request;
}
