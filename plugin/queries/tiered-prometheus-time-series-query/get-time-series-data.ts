import type { TimeSeriesData } from '@perses-dev/core';
import { getTimeSeriesData as getPrometheusData } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/get-time-series-data';
import type { PrometheusTimeSeriesQuerySpec } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/time-series-query-model';
import type { DatasourceStore, TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import { answerOf } from '../../model/answer';
import type { AnsweredData } from '../../model/answered-data';
import type { TieredPrometheusClient } from '../../model/client';
import { withSignal, withTierChoice } from '../../model/client';
import type { Explanation } from '../../model/explain';
import { noticeOf } from '../../model/notice';
import type { TieredPrometheusTimeSeriesQuerySpec } from '../../model/spec';
import { DATASOURCE_KIND, DEFAULT_DATASOURCE } from '../../model/spec';

/** The client that runs a query, in place of the one of the datasource. */
type Replace = (client: TieredPrometheusClient) => TieredPrometheusClient;

/**
 * Runs a query. Steps, variables and series are those of the Prometheus plugin, whose function runs here against our
 * datasource: so that a panel that changes kinds draws the same. What answered, and all warnings, are told in one notice.
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
      instantQuery: async ({ query, time }) => {
        explanation = await client.explain({ endpoint: 'query', query, time }, undefined, signal);
        return { status: 'success', data: { resultType: 'vector', result: [] } };
      },
      rangeQuery: async ({ query, start, end, step }) => {
        explanation = await client.explain({ endpoint: 'query_range', query, start, end, step }, undefined, signal);
        return { status: 'success', data: { resultType: 'matrix', result: [] } };
      },
    };
  });
  return explanation;
}

function run(
  {
    query,
    datasource = DEFAULT_DATASOURCE,
    seriesNameFormat,
    minStep,
    resolution,
  }: TieredPrometheusTimeSeriesQuerySpec,
  context: TimeSeriesQueryContext,
  replace: Replace
): Promise<TimeSeriesData> {
  const spec = { query, datasource, seriesNameFormat, minStep, resolution };
  return getPrometheusData(
    // That function knows its own kind only; it merely passes the selector on.
    spec as unknown as PrometheusTimeSeriesQuerySpec,
    { ...context, datasourceStore: storeOfOurKind(context.datasourceStore, replace) }
  );
}

/** Lists our kind whatever kind is asked for, and replaces clients. */
function storeOfOurKind(store: DatasourceStore, replace: Replace): DatasourceStore {
  return {
    ...store,
    listDatasourceSelectItems: () => store.listDatasourceSelectItems(DATASOURCE_KIND),
    getDatasourceClient: async <Client>(selector: Parameters<DatasourceStore['getDatasourceClient']>[0]) =>
      replace(await store.getDatasourceClient<TieredPrometheusClient>(selector)) as Client,
  };
}
