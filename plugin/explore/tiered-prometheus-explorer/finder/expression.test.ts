import { describe, expect, it } from 'vitest';
import { complete, expressionOf, selectorOf } from './expression';

describe('the query of a metric', () => {
  it.each([
    ['node_load1', 'gauge', 'node_load1'],
    ['node_load1', undefined, 'node_load1'],
    ['requests', 'counter', 'rate(requests[$__rate_interval])'],
    ['requests_total', undefined, 'rate(requests_total[$__rate_interval])'],
    ['requests_total', 'unknown', 'rate(requests_total[$__rate_interval])'],
    ['requests_total', 'gauge', 'requests_total'],
    ['duration_bucket', 'histogram', 'rate(duration_bucket[$__rate_interval])'],
    ['duration_count', undefined, 'rate(duration_count[$__rate_interval])'],
    ['duration_sum', 'summary', 'rate(duration_sum[$__rate_interval])'],
    ['duration', 'summary', 'duration'],
    ['duration', 'histogram', 'histogram_quantile(0.9, sum(rate(duration[$__rate_interval])))'],
    ['pod_count', 'gauge', 'pod_count'],
  ])('%s, %s', (metric, type, expression) => {
    expect(expressionOf(metric, type, [])).toBe(expression);
  });

  it('has the filters, with everything that PromQL would take for its own escaped', () => {
    expect(
      selectorOf('up', [
        { label: 'job', operator: '=', labelValues: ['a "b" \\ c\nd'] },
        { label: 'pod', operator: '=~', labelValues: ['x.*', 'y'] },
        { label: 'k8s.name', operator: '!=', labelValues: ['z'] },
      ])
    ).toBe('up{job="a \\"b\\" \\\\ c\\nd", pod=~"x.*|y", "k8s.name"!="z"}');
  });

  it('quotes a name that is none of the old ones', () => {
    expect(selectorOf('http.requests "total"', [{ label: 'job', operator: '=', labelValues: ['a'] }])).toBe(
      '{"http.requests \\"total\\"", job="a"}'
    );
    expect(expressionOf('http.requests', 'counter', [])).toBe('rate({"http.requests"}[$__rate_interval])');
  });

  it('leaves out filters that are not filled in yet', () => {
    const filter = { label: 'job', operator: '=' as const, labelValues: ['a'] };
    expect(
      complete([{ ...filter, label: '' }, filter, { ...filter, labelValues: [] }, { ...filter, labelValues: [''] }])
    ).toEqual([filter]);
  });
});
