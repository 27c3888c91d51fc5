import type { Notice, TimeSeries, TimeSeriesData } from '@perses-dev/core';
import { getTimeSeriesData as getPrometheusData } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/get-time-series-data';
import type { PrometheusTimeSeriesQuerySpec } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/time-series-query-model';
import type { DatasourceStore, TimeSeriesQueryContext } from '@perses-dev/plugin-system';
import type {
  AlertThreshold,
  AlertThresholds,
  AlertThresholdsRequestParameters,
  TieredPrometheusAlertThresholdQuerySpec,
} from '../../model/alert-thresholds';
import { thresholdParameters } from '../../model/alert-thresholds';
import type { Answer } from '../../model/answer';
import { answerOf } from '../../model/answer';
import type { TieredPrometheusClient } from '../../model/client';
import { withSignal } from '../../model/client';
import { dashboardDatasource } from '../../model/dashboard-datasource';
import { replaceInText } from '../../model/interpolation';
import type { TieredPrometheusDatasourceSelector } from '../../model/spec';
import { linesOf } from './lines';
import { noticeOfThresholds } from './notice';

/** The most thresholds that one query draws. */
export const MAX_THRESHOLDS = 50;

/** The most range queries that one query has in flight. */
const MAX_CONCURRENT_QUERIES = 4;

/** What a query asked the gateway for, and how to ask for more. */
interface Asked {
  parameters: AlertThresholdsRequestParameters;
  found: AlertThresholds;
  warnings: string[];
  selector: TieredPrometheusDatasourceSelector;
  /** Leads the functions of the Prometheus plugin to the datasource. */
  store: DatasourceStore;
}

/** What came of the range query for one threshold side. */
type Evaluation = { data: TimeSeriesData; answer: Answer } | { error: unknown };

/**
 * Draws the thresholds of alerting rules: one line for each series of a threshold side, over the time range and with the
 * step of the panel. Equal threshold sides are asked once. A notice tells which rules have no threshold.
 *
 * It throws where the gateway does not tell the thresholds, or answers none of the range queries.
 *
 * @param signal ends the query early; Perses gives one from 0.53 on
 */
export async function getTimeSeriesData(
  spec: TieredPrometheusAlertThresholdQuerySpec,
  context: TimeSeriesQueryContext,
  signal?: AbortSignal
): Promise<TimeSeriesData> {
  const asked = await ask(spec, context, signal);
  if (asked === undefined) {
    return withNotice([], { type: 'info', message: 'a variable that names alerts or a metric has no value' });
  }
  const drawn = asked.found.thresholds.slice(0, MAX_THRESHOLDS);
  const minStep = spec.minStep && replaceInText(spec.minStep, context.variableState);
  const evaluations = await evaluateEach(drawn, MAX_CONCURRENT_QUERIES, (right) =>
    evaluate(right, minStep, asked, context)
  );
  signal?.throwIfAborted();
  const notice = noticeOfThresholds({
    requested: asked.parameters,
    found: asked.found,
    drawn: drawn.length,
    warnings: [...asked.warnings, ...warningsOf(drawn, evaluations)],
  });
  return { ...timeOf(evaluations), ...withNotice(seriesOf(drawn, evaluations), notice, [...evaluations.keys()]) };
}

/** Returns the thresholds that a query draws, without drawing them. Undefined where a variable has no value. */
export async function findThresholds(
  spec: TieredPrometheusAlertThresholdQuerySpec,
  context: Pick<TimeSeriesQueryContext, 'datasourceStore' | 'variableState'>,
  signal?: AbortSignal
): Promise<AlertThresholds | undefined> {
  return (await ask(spec, context, signal))?.found;
}

/** Asks the gateway for the thresholds of a query. Undefined where a variable has no value. */
async function ask(
  spec: TieredPrometheusAlertThresholdQuerySpec,
  { datasourceStore, variableState }: Pick<TimeSeriesQueryContext, 'datasourceStore' | 'variableState'>,
  signal?: AbortSignal
): Promise<Asked | undefined> {
  const parameters = thresholdParameters(spec, variableState);
  if (parameters === undefined) {
    return undefined;
  }
  const { selector, store } = await dashboardDatasource(datasourceStore, spec.datasource, variableState, (original) =>
    withSignal(original, signal)
  );
  const client = await store.getDatasourceClient<TieredPrometheusClient>(selector);
  const { data, warnings = [] } = await client.alertThresholds(parameters);
  return { parameters, found: data, warnings, selector, store };
}

function withNotice(series: TimeSeries[], notice: Notice | undefined, queries: string[] = []): TimeSeriesData {
  return {
    series,
    metadata: {
      notices: notice === undefined ? [] : [notice],
      executedQueryString: queries.length === 0 ? undefined : queries.join('\n'),
    },
  };
}

/**
 * Runs a range query for each distinct threshold side, a limited number at once, and returns what came of each by its
 * PromQL. It throws the first error if all of them fail.
 */
async function evaluateEach(
  thresholds: readonly AlertThreshold[],
  atOnce: number,
  run: (right: string) => Promise<Evaluation>
): Promise<Map<string, Evaluation>> {
  const rights = [...new Set(thresholds.map(({ right }) => right))];
  const evaluations = new Map<string, Evaluation>();
  const waiting = rights.values();
  const work = async (): Promise<void> => {
    for (const right of waiting) {
      evaluations.set(right, await run(right).catch((error: unknown) => ({ error })));
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, rights.length) }, work));
  const failures = [...evaluations.values()].flatMap((each) => ('error' in each ? [each.error] : []));
  if (failures.length > 0 && failures.length === evaluations.size) {
    throw failures[0];
  }
  // In the order of the thresholds, whichever query was answered first.
  return new Map(rights.map((right) => [right, evaluations.get(right) as Evaluation]));
}

/** Runs the range query for a threshold side with the step of the Prometheus plugin; the PromQL goes out unchanged. */
async function evaluate(
  right: string,
  minStep: string | undefined,
  { selector, store }: Asked,
  context: TimeSeriesQueryContext
): Promise<Evaluation> {
  let answer: object = {};
  const remember = async <Body extends object>(body: Promise<Body>): Promise<Body> => {
    answer = await body;
    return body;
  };
  const unchanged: DatasourceStore = {
    ...store,
    getDatasourceClient: async <Client>(each: Parameters<DatasourceStore['getDatasourceClient']>[0]) => {
      const client = await store.getDatasourceClient<TieredPrometheusClient>(each as typeof selector);
      return {
        ...client,
        rangeQuery: (parameters) => remember(client.rangeQuery({ ...parameters, query: right })),
        instantQuery: (parameters) =>
          remember(client.instantQuery({ ...parameters, query: right, time: context.timeRange.end.getTime() / 1000 })),
      } satisfies TieredPrometheusClient as Client;
    },
  };
  const data = await getPrometheusData(
    // That function knows its own kind only; it merely passes the selector on.
    { query: right, datasource: selector, minStep } as unknown as PrometheusTimeSeriesQuerySpec,
    { ...context, variableState: {}, datasourceStore: unchanged }
  );
  return { data, answer: answerOf(answer) };
}

/** The lines of all thresholds. */
function seriesOf(thresholds: readonly AlertThreshold[], evaluations: Map<string, Evaluation>): TimeSeries[] {
  return thresholds.flatMap((threshold) => {
    const evaluation = evaluations.get(threshold.right);
    return evaluation === undefined || 'error' in evaluation ? [] : linesOf(threshold, evaluation.data.series);
  });
}

/** Time range and step, which are the same for all range queries. */
function timeOf(evaluations: Map<string, Evaluation>): Pick<TimeSeriesData, 'timeRange' | 'stepMs'> {
  for (const evaluation of evaluations.values()) {
    if ('data' in evaluation) {
      return { timeRange: evaluation.data.timeRange, stepMs: evaluation.data.stepMs };
    }
  }
  return {};
}

/** The warnings of the answers to range queries, and the errors of those that failed. */
function warningsOf(thresholds: readonly AlertThreshold[], evaluations: Map<string, Evaluation>): string[] {
  return thresholds.flatMap(({ title, right }) => {
    const evaluation = evaluations.get(right);
    if (evaluation === undefined) {
      return [];
    }
    return 'error' in evaluation
      ? [
          `${title} is not drawn: ${evaluation.error instanceof Error ? evaluation.error.message : String(evaluation.error)}`,
        ]
      : evaluation.answer.warnings;
  });
}
