import { PrometheusDatasource } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-datasource';
import { PrometheusTimeSeriesQuery } from '@perses-dev/prometheus-plugin/lib/plugins/prometheus-time-series-query/PrometheusTimeSeriesQuery';
import type {
  DatasourceStore,
  TimeSeriesQueryContext,
  VariableState,
  VariableStateMap,
} from '@perses-dev/plugin-system';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createClient } from '../../model/client';
import type { TestServer } from '../../testing/gateway';
import { startServer } from '../../testing/gateway';
import { explainTimeSeriesQuery } from './get-time-series-data';
import { TieredPrometheusTimeSeriesQuery } from './TieredPrometheusTimeSeriesQuery';

// What the newest Prometheus plugin sends (0.57, on Perses 0.54) beside what ours sends, both with their own clients to a
// real server. 0.53, which is installed and runs here, replaces the variables of a query in the same way.

const { raw } = String;

let server: TestServer;

beforeAll(async () => {
  server = await startServer((_, response) =>
    response.end('{"status":"success","data":{"resultType":"vector","result":[]}}')
  );
});
beforeEach(() => server.seen.splice(0));
afterAll(() => server.close());

interface Options {
  queryParams?: Record<string, string>;
  context?: Partial<TimeSeriesQueryContext>;
}

function contextOf(kind: string, client: unknown, variables: VariableStateMap, { queryParams, context }: Options) {
  const datasourceStore = {
    getDatasource: () => Promise.resolve({ plugin: { kind, spec: { scrapeInterval: '30s', queryParams } } }),
    getDatasourceClient: () => Promise.resolve(client),
    listDatasourceSelectItems: () => Promise.resolve([]),
  } as unknown as DatasourceStore;
  return {
    timeRange: { start: new Date(1_800_000_000_000), end: new Date(1_800_000_600_000) },
    variableState: variables,
    datasourceStore,
    refreshKey: '',
    ...context,
  };
}

interface Spec {
  query: string;
  minStep?: '30s';
  resolution?: number;
  instant?: boolean;
}

/** Returns the parameters that the Prometheus plugin sends for a query. */
async function theirs(spec: Spec, variables: VariableStateMap = {}, options: Options = {}) {
  const client = PrometheusDatasource.createClient({ directUrl: server.url }, {});
  const context = contextOf('PrometheusDatasource', client, variables, options);
  await PrometheusTimeSeriesQuery.getTimeSeriesData(spec, context);
  return server.seen.at(-1)?.parameters ?? {};
}

function ourContext(variables: VariableStateMap, options: Options) {
  const proxy = { kind: 'HTTPProxy' as const, spec: { url: '' } };
  const client = createClient({ queryParams: options.queryParams, proxy }, { proxyUrl: server.url });
  return contextOf('TieredPrometheusDatasource', client, variables, options);
}

/** Returns the parameters that ours sends for a query. */
async function ours(spec: Spec, variables: VariableStateMap = {}, options: Options = {}) {
  const data = await TieredPrometheusTimeSeriesQuery.getTimeSeriesData(spec, ourContext(variables, options));
  const sent = server.seen.at(-1)?.parameters ?? {};
  expect([data.metadata?.executedQueryString]).toEqual(sent.query);
  return sent;
}

/** A list variable with several values. */
const several = (...value: string[]): VariableState => ({ loading: false, value });

const options = ['xx-1 (abc1)', 'a"b', 'e.f|g'].map((value) => ({ label: value, value }));

/** A list variable with one of its options. */
const one = (value: string): VariableState => ({
  loading: false,
  value,
  options: [...options, { label: value, value }],
  overriding: false,
});

/** What Perses makes of the choice "All" where the variable has a custom all value. */
const all = (value: string): VariableState => ({ loading: false, value, options, overriding: false });

/** A text variable. */
const typed = (value: string): VariableState => ({ loading: false, value, overriding: false });

/** The value for which Perses repeats a panel. */
const repeated = (value: string): VariableState => ({ loading: false, value });

interface Row {
  query: string;
  v: VariableState;
  theirs: string;
  /** Left out: the same. */
  ours?: string;
}

/** Rows where theirs is right, and ours is the same. */
const same: Row[] = [
  { query: 'up{l=~"$v"}', v: several('cart', 'search'), theirs: 'up{l=~"(cart|search)"}' },
  { query: 'up{l=~"$v"}', v: several('cart'), theirs: 'up{l=~"(cart)"}' },
  { query: 'up{l="$v"}', v: one('cart'), theirs: 'up{l="cart"}' },
  { query: 'up{l=~"$v"}', v: all('.*'), theirs: 'up{l=~".*"}' },
  { query: 'up{l=~"$v"}', v: all(raw`a\\.b|c`), theirs: raw`up{l=~"a\\.b|c"}` },
  { query: 'up{l=~"${v:pipe}"}', v: all(raw`a\\.b|c`), theirs: raw`up{l=~"a\\.b|c"}` },
  { query: 'up{l=~"web-$v.*"}', v: typed('(a|b)'), theirs: 'up{l=~"web-(a|b).*"}' },
  { query: 'up{l=~"${v:raw}"}', v: several('a.*', 'b"'), theirs: 'up{l=~"a.*,b""}' },
  { query: 'up{l=~"${v:pipe}"}', v: several('a.*', 'b'), theirs: 'up{l=~"a.*|b"}' },
  { query: 'up{l=~`${v:regex}`}', v: several('e.f|g'), theirs: raw`up{l=~${'`'}(e\.f\|g)${'`'}}` },
  { query: 'sum by (${v:csv}) (up)', v: several('job', 'pod'), theirs: 'sum by (job,pod) (up)' },
  { query: '${v}_total', v: one('requests'), theirs: 'requests_total' },
  { query: 'rate(up[$v]) > $v', v: typed('5m'), theirs: 'rate(up[5m]) > 5m' },
  { query: 'up{$v}', v: typed('job="a"'), theirs: 'up{job="a"}' },
  {
    query: 'label_replace(up, "a", "$1", "b", "(.*)")',
    v: one('x'),
    theirs: 'label_replace(up, "a", "$1", "b", "(.*)")',
  },
  { query: 'up{l="${v:percentencode}"}', v: several('a b', 'c'), theirs: 'up{l="a%20b%2Cc"}' },
  { query: 'up{l="${v:queryparam}"}', v: several('a b', 'c'), theirs: 'up{l="v=a%20b&v=c"}' },
  { query: 'up{l="${v:distributed}"}', v: several('a', 'b'), theirs: 'up{l="a,v=b"}' },
  { query: 'up{l="${v:glob}"}', v: several('a', 'b'), theirs: 'up{l="{a,b}"}' },
  { query: 'up{l="${v:text}"}', v: several('a', 'b'), theirs: 'up{l="a + b"}' },
  { query: 'up{l="${v:sqlstring}"}', v: several("a'", 'b'), theirs: `up{l="'a''','b'"}` },
  { query: `up{l=\`\${v:lucene}\`}`, v: several('a', 'b'), theirs: 'up{l=`("a" OR "b")`}' },
  { query: `up{l=\`\${v:json}\`}`, v: several('a', 'b'), theirs: 'up{l=`["a","b"]`}' },
  { query: 'sort_by_label(up, ${v:doublequote})', v: several('a', 'b'), theirs: 'sort_by_label(up, "a","b")' },
  { query: 'sort_by_label(up, ${v:singlequote})', v: several('a', 'b'), theirs: "sort_by_label(up, 'a','b')" },
  { query: 'up{l="${v:values}"}', v: one('cart'), theirs: 'up{l="${v:values}"}' },
  { query: 'up{l="$unknown"}', v: one('cart'), theirs: 'up{l="$unknown"}' },
  { query: 'up{l="$v"}', v: { loading: false, value: null }, theirs: 'up{l=""}' },
  { query: 'rate(up[$__rate_interval])', v: one('x'), theirs: 'rate(up[2m])' },
];

/** Rows where theirs is wrong: what it sends is refused or asks for something else. */
const different: Row[] = [
  // Parentheses, dots and bars of a value are no regular expression.
  {
    query: 'up{l=~"$v"}',
    v: several('xx-1 (abc1)', 'a"b', raw`c\d`, 'e.f|g'),
    theirs: raw`up{l=~"(xx-1 (abc1)|a"b|c\d|e.f|g)"}`,
    ours: raw`up{l=~"(xx-1 \\(abc1\\)|a\"b|c\\\\d|e\\.f\\|g)"}`,
  },
  { query: 'up{l!~"$v"}', v: one('e.f|g'), theirs: 'up{l!~"e.f|g"}', ours: raw`up{l!~"e\\.f\\|g"}` },
  { query: 'up{l=~"$v"}', v: repeated('e.f|g'), theirs: 'up{l=~"e.f|g"}', ours: raw`up{l=~"e\\.f\\|g"}` },
  // Nor do quotes end a string, whatever the quotes.
  { query: 'up{l="$v"}', v: one('a"b'), theirs: 'up{l="a"b"}', ours: raw`up{l="a\"b"}` },
  { query: "up{l='$v'}", v: one(`a"b'c`), theirs: `up{l='a"b'c'}`, ours: raw`up{l='a"b\'c'}` },
  { query: 'up{l="$v"}', v: one(raw`c\d`), theirs: raw`up{l="c\d"}`, ours: raw`up{l="c\\d"}` },
  { query: 'up{l="$v"}', v: typed('a"b'), theirs: 'up{l="a"b"}', ours: raw`up{l="a\"b"}` },
  { query: 'up{l="$v"}', v: one('a\nb'), theirs: 'up{l="a\nb"}', ours: raw`up{l="a\nb"}` },
  { query: 'up{l=~`$v`}', v: several('e.f', 'g'), theirs: 'up{l=~`(e.f|g)`}', ours: raw`up{l=~${'`'}(e\.f|g)${'`'}}` },
  { query: 'up{l=~`\\d$v`}', v: one('a`b"'), theirs: 'up{l=~`\\da`b"`}', ours: raw`up{l=~"\\da${'`'}b\""}` },
  { query: '{"$v"}', v: one('a"b'), theirs: '{"a"b"}', ours: raw`{"a\"b"}` },
  { query: 'up{l=~"$v"}', v: typed(raw`a\.b`), theirs: raw`up{l=~"a\.b"}`, ours: raw`up{l=~"a\\.b"}` },
  // The last argument of label_replace is a regular expression, too.
  {
    query: 'label_replace(sum by (a, b) (up), "x", "$v", "b", "$v")',
    v: one('e.f'),
    theirs: 'label_replace(sum by (a, b) (up), "x", "e.f", "b", "e.f")',
    ours: raw`label_replace(sum by (a, b) (up), "x", "e.f", "b", "e\\.f")`,
  },
  // One value of a variable that allows several is the value itself where a matcher takes one.
  { query: 'up{l="$v"}', v: several('a'), theirs: 'up{l="(a)"}', ours: 'up{l="a"}' },
  // A string holds what the format makes of the values.
  {
    query: 'up{l=~"${v:regex}"}',
    v: several('e.f|g'),
    theirs: raw`up{l=~"(e\.f\|g)"}`,
    ours: raw`up{l=~"(e\\.f\\|g)"}`,
  },
  { query: 'up{l=~"${v:regex}"}', v: all('.*'), theirs: raw`up{l=~"(\.\*)"}`, ours: 'up{l=~".*"}' },
  { query: 'up{l=~"${v:pipe}"}', v: several('a"', 'b'), theirs: 'up{l=~"a"|b"}', ours: raw`up{l=~"a\"|b"}` },
  { query: 'x(${v:doublequote})', v: several('a"b'), theirs: 'x("a"b")', ours: raw`x("a\"b")` },
  { query: 'x(${v:singlequote})', v: several("a'b"), theirs: "x('a'b')", ours: raw`x('a\'b')` },
  // Known from Perses 0.54 on, which sends (a\\"b|c\\\d) here: neither a quote nor a backslash is right.
  {
    query: 'up{l=~"${v:regexliteral}"}',
    v: several('e.f', 'a"b', raw`c\d`),
    theirs: 'up{l=~"${v:regexliteral}"}',
    ours: raw`up{l=~"(e\\.f|a\"b|c\\\\d)"}`,
  },
  // Values are replaced once, with the format of each reference, and have no $ of their own.
  {
    query: 'up{l=~"$v",m="${v:csv}"}',
    v: several('a', 'b'),
    theirs: 'up{l=~"a,b",m="a,b"}',
    ours: 'up{l=~"(a|b)",m="a,b"}',
  },
  { query: 'up{l="$v"}', v: one('$&$$'), theirs: 'up{l="$v$"}', ours: 'up{l="$&$$"}' },
  { query: 'up{l="$v",m="$v2"}', v: one('a'), theirs: 'up{l="a",m="a2"}', ours: 'up{l="a",m="$v2"}' },
  // A comment is no place for a value, and its quotes begin no string.
  {
    query: 'up # it\'s "$v\n{l="$v"}',
    v: one('a"'),
    theirs: 'up # it\'s "a"\n{l="a""}',
    ours: raw`up # it's "$v${'\n'}{l="a\""}`,
  },
];

describe('a query with variables', () => {
  it.each(same)('sends what the Prometheus plugin sends: $query, $v.value', async ({ query, v, theirs: text }) => {
    expect((await theirs({ query }, { v })).query).toEqual([text]);
    expect((await ours({ query }, { v })).query).toEqual([text]);
  });

  it.each(different)('keeps the values what they are: $query, $v.value', async (row) => {
    expect((await theirs({ query: row.query }, { v: row.v })).query).toEqual([row.theirs]);
    expect((await ours({ query: row.query }, { v: row.v })).query).toEqual([row.ours]);
  });

  it('tells the custom all value from an option where Perses does, from 0.54 on', async () => {
    const v = { ...all('e.f|g'), customAllValue: 'e.f|g' };
    expect((await ours({ query: 'up{l=~"$v"}' }, { v })).query).toEqual(['up{l=~"e.f|g"}']);
  });

  it.each(['=', '!='])('says that a matcher takes one value where the variable has several: %s', async (operator) => {
    const query = `up{l${operator}"$v"}`;
    expect((await theirs({ query }, { v: several('a', 'b') })).query).toEqual([`up{l${operator}"(a|b)"}`]);
    server.seen.splice(0);
    await expect(ours({ query }, { v: several('a', 'b') })).rejects.toThrow(
      `The variable "v" has several values, and ${operator}"$v" takes one`
    );
    expect(server.seen).toEqual([]);
  });

  it('is explained with the same values', async () => {
    const v = several('e.f|g');
    const context = ourContext({ v }, { queryParams: { namespace: '${v:queryparam}' } });
    await explainTimeSeriesQuery({ query: 'up{l=~"$v"}' }, context);
    expect(server.seen[0]).toMatchObject({
      path: '/api/v1/datasources/explain',
      parameters: { query: [raw`up{l=~"(e\\.f\\|g)"}`], namespace: ['e.f|g'] },
    });
  });
});

describe('the query parameters of a datasource', () => {
  const variables = { v: several('a b', 'c&d'), w: one('a"b'), x: all('xx.*|a"b'), y: all('none'), z: all('(') };
  const everything = options.map(({ value }) => value);

  // The newest Prometheus plugin sends the same on Perses 0.54, unless a row says otherwise. The installed one has none.
  it.each([
    ['${v:queryparam}', ['a b', 'c&d']],
    ['$v', ['a b', 'c&d']],
    ['${v}', ['a b', 'c&d']],
    ['ns=$v!', ['ns=a b!', 'ns=c&d!']],
    ['${v:csv}', ['a b,c&d']],
    ['${v:pipe}', ['a b|c&d']],
    ['$w', ['a"b']],
    ['${w:queryparam}', ['a"b']], // Theirs: ['w=a%22b']
    ['$v/$w', ['a b/a"b', 'c&d/a"b']],
    ['$v/$v', ['a b/a b', 'a b/c&d', 'c&d/a b', 'c&d/c&d']], // Theirs: ['a b/a b', 'c&d/c&d']
    ['${x:queryparam}', ['xx-1 (abc1)', 'a"b']], // Theirs before Perses 0.54: ['x=xx.*%7Ca%22b']
    ['$y', everything],
    ['$z', everything],
    ['$unknown', ['$unknown']],
    ['${v:other}', ['${v:other}']], // Theirs: the text once for each value
    ['10$', ['10$']],
  ])('are repeated for each value: %s', async (template, values) => {
    const parameters = { queryParams: { namespace: template } };
    expect((await ours({ query: 'up' }, variables, parameters)).namespace).toEqual(values);
  });

  it('are left out where a variable has no value', async () => {
    const none = { v: several() };
    expect(await ours({ query: 'up' }, none, { queryParams: { namespace: '$v' } })).not.toHaveProperty('namespace');
  });

  it('make a query wait for their variables, once it has asked', async () => {
    await ours({ query: 'up' }, variables, { queryParams: { namespace: '$late' } });
    const context = ourContext(variables, {});
    expect(TieredPrometheusTimeSeriesQuery.dependsOn?.({ query: 'up' }, context).variables).toContain('late');
  });
});

describe('the resolution', () => {
  const context = { suggestedStepMs: 60_000 };

  it.each([
    [undefined, 60],
    [1, 60],
    [2, 120],
    [0.75, 45],
    [0.1, 30], // The smallest step is that of the datasource.
    [0, 60],
    [-2, 60],
  ])('multiplies the step that suits the panel: %s', async (resolution, step) => {
    const spec = { query: 'rate(up[$__interval])', resolution };
    expect((await theirs(spec, {}, { context })).step).toEqual(['60']);
    const sent = await ours(spec, {}, { context });
    expect(sent.step).toEqual([String(step)]);
    expect(sent.query).toEqual([`rate(up[${step === 60 ? '1m' : step === 120 ? '2m' : `${String(step)}s`}])`]);
  });

  it('changes nothing where no step suits, as in a table', async () => {
    expect((await ours({ query: 'up', resolution: 4 })).step).toEqual(['30']);
  });
});

describe('an instant query', () => {
  it('is for the end of the range, not for its last step', async () => {
    const timeRange = { start: new Date(1_800_000_000_000), end: new Date(1_800_000_617_250) };
    const context = { mode: 'instant' as const, timeRange, suggestedStepMs: 60_000 };
    expect((await theirs({ query: 'up' }, {}, { context })).time).toEqual(['1800000600']);
    expect((await ours({ query: 'up' }, {}, { context })).time).toEqual(['1800000617.25']);
    const data = await TieredPrometheusTimeSeriesQuery.getTimeSeriesData({ query: 'up' }, ourContext({}, { context }));
    expect(data.timeRange).toEqual(timeRange);
  });

  it('is the same whether the panel or the query asks for it', async () => {
    const timeRange = { start: new Date(1_800_000_000_000), end: new Date(1_800_000_617_250) };
    const query = 'rate(up[$__interval])';
    const asked = await ours({ query }, {}, { context: { mode: 'instant', timeRange, suggestedStepMs: 60_000 } });
    expect(await ours({ query, instant: true }, {}, { context: { timeRange, suggestedStepMs: 60_000 } })).toEqual(
      asked
    );
    expect(asked).toEqual({ query: ['rate(up[1m])'], time: ['1800000617.25'] });
  });
});
