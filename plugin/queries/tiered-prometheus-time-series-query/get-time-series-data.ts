import type { TimeSeriesData } from '@perses-dev/core';
import { getTimeSeriesData as getPrometheusData } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/get-time-series-data';
import type { PrometheusTimeSeriesQuerySpec } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/time-series-query-model';
import type { TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import { answerOf } from '../../model/answer';
import type { AnsweredData } from '../../model/answered-data';
import type { TieredPrometheusClient } from '../../model/client';
import { withSignal, withTierChoice } from '../../model/client';
import { dashboardDatasource } from '../../model/dashboard-datasource';
import type { Explanation } from '../../model/explain';
import { replaceInText } from '../../model/interpolation';
import { noticeOf } from '../../model/notice';
import { replaceInPromQL } from '../../model/promql';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';

/** The client that runs a query, in place of the one of the datasource. */
type Replace = (client: TieredPrometheusClient) => TieredPrometheusClient;

/**
 * Runs a query. Steps and series are those of the Prometheus plugin, whose function runs here against our datasource: so
 * that a panel that changes kinds draws the same. What answered, and all warnings, are told in one notice.
 *
 * @param signal ends the query early; Perses gives one from 0.53 on
 */
export async function getTimeSeriesData(
  spec: TieredPrometheusTimeSeriesQuerySpec,
  context: TimeSeriesQueryContext,
  signal?: AbortSignal
): Promise<AnsweredData> {
  let answer: object | undefined;
  const remember = async <Body extends object>(body: Promise<Body>): Promise<Body> => {
    answer = await body;
    return body;
  };
  const data = await run(spec, context, (original) => {
    const client = withSignal(withTierChoice(original, spec.tier), signal);
    return {
      ...client,
      instantQuery: (...request) => remember(client.instantQuery(...request)),
      rangeQuery: (...request) => remember(client.rangeQuery(...request)),
    };
  });
  const said = answer === undefined ? undefined : answerOf(answer);
  const notice = said && noticeOf(said);
  // The Prometheus plugin tells the first warning only; it is among those of our notice.
  return { ...data, metadata: { ...data.metadata, notices: notice === undefined ? [] : [notice], answer: said } };
}

/**
 * Asks the gateway which tier would answer a query, and why, without running it. What is asked about is the very request
 * that getTimeSeriesData would send. Undefined where it would send none, because there is no expression.
 */
export async function explainTimeSeriesQuery(
  spec: TieredPrometheusTimeSeriesQuerySpec,
  context: TimeSeriesQueryContext,
  signal?: AbortSignal
): Promise<Explanation | undefined> {
  let explanation: Explanation | undefined;
  await run(spec, context, (original) => {
    const client = withTierChoice(original, spec.tier);
    return {
      ...client,
      instantQuery: async (parameters) => {
        explanation = await client.explain({ ...parameters, endpoint: 'query' }, undefined, signal);
        return { status: 'success', data: { resultType: 'vector', result: [] } };
      },
      rangeQuery: async (parameters) => {
        explanation = await client.explain({ ...parameters, endpoint: 'query_range' }, undefined, signal);
        return { status: 'success', data: { resultType: 'matrix', result: [] } };
      },
    };
  });
  return explanation;
}

/**
 * Runs the function of the Prometheus plugin, but for what it does not do: it escapes no values of variables, ignores the
 * resolution, and asks for the last step of a range where an instant query is for its end. It gets no variables, and the
 * client replaces those of the query, where the built-in ones that depend on the step have their values already.
 *
 * A query that is instant is so in every panel; the others are what the panel asks for.
 */
export async function run(
  { query, datasource, seriesNameFormat, minStep, resolution = 1, instant }: TieredPrometheusTimeSeriesQuerySpec,
  context: TimeSeriesQueryContext,
  replace: Replace
): Promise<TimeSeriesData> {
  if (query === '') {
    return { series: [] };
  }
  const { variableState, timeRange, suggestedStepMs } = context;
  const mode = instant === true ? 'instant' : context.mode;
  const promQL = (text: string): string => replaceInPromQL(text, variableState);
  const text = (optional?: string): string | undefined => optional && replaceInText(optional, variableState);
  const { selector, store } = await dashboardDatasource(
    context.datasourceStore,
    datasource,
    variableState,
    (original) => {
      const client = replace(original);
      return {
        ...client,
        instantQuery: (parameters, ...rest) =>
          client.instantQuery(
            { ...parameters, query: promQL(parameters.query), time: timeRange.end.getTime() / 1000 },
            ...rest
          ),
        rangeQuery: (parameters, ...rest) =>
          client.rangeQuery({ ...parameters, query: promQL(parameters.query) }, ...rest),
      };
    }
  );
  const data = await getPrometheusData(
    // That function knows its own kind only; it merely passes the selector on.
    {
      query,
      datasource: selector,
      seriesNameFormat: text(seriesNameFormat),
      minStep: text(minStep),
    } as unknown as PrometheusTimeSeriesQuerySpec,
    {
      ...context,
      mode,
      variableState: {},
      datasourceStore: store,
      // A resolution of 0 or less changes nothing.
      suggestedStepMs: suggestedStepMs && suggestedStepMs * (resolution > 0 ? resolution : 1),
    }
  );
  const { executedQueryString: executed } = data.metadata ?? {};
  return {
    ...data,
    timeRange: mode === 'instant' ? timeRange : data.timeRange,
    metadata: { ...data.metadata, executedQueryString: executed === undefined ? undefined : promQL(executed) },
  };
}
