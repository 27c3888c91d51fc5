import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as patterns from './patterns';
import { findMistakes, matcherMistake, messages, minStepMistake } from './validate';

const datasource = 'schemas/datasources/tiered-prometheus-datasource';
const query = 'schemas/queries/tiered-prometheus-time-series-query';
const thresholdQuery = 'schemas/queries/tiered-prometheus-alert-threshold-query';

/** Names of the examples of a model, without the ending. */
function examples(model: string, folder: 'valid' | 'invalid'): string[] {
  return readdirSync(`${model}/tests/${folder}`)
    .filter((file) => file.endsWith('.json'))
    .map((file) => basename(file, '.json'));
}

function specOf(model: string, example: string): Record<string, unknown> {
  return (JSON.parse(readFileSync(`${model}/tests/${example}.json`, 'utf8')) as { spec: Record<string, unknown> }).spec;
}

/**
 * What Perses says of an example, in the words of the form. The model checks a copy of hot, and writes of it that a field
 * is required. The form shows that at the field.
 */
function errorOf(model: string, example: string): string {
  return readFileSync(`${model}/tests/${example}.error`, 'utf8')
    .trimEnd()
    .replace('spec._hot', 'spec.hot')
    .replace(/^spec\.hot\.(\d+)/, 'spec.hot[$1]')
    .replace(/: the field (\w+) is required$/, '.$1: field is required but not present')
    .replace(/: the field (.*) is required$/, '."$1": field is required but not present');
}

describe('a form knows what Perses accepts', () => {
  it.each(examples(datasource, 'valid'))('%s', (name) => {
    expect(findMistakes(specOf(datasource, `valid/${name}`))).toEqual([]);
  });

  it('minStep of a query', () => {
    for (const name of examples(query, 'valid')) {
      expect(minStepMistake(specOf(query, `valid/${name}`).minStep as string | undefined)).toBeUndefined();
    }
  });

  it('matchers of a threshold query', () => {
    const matchers = examples(thresholdQuery, 'valid').flatMap(
      (name) => (specOf(thresholdQuery, `valid/${name}`).matchers ?? []) as string[]
    );
    expect(matchers.length).toBeGreaterThan(8);
    expect(matchers.map(matcherMistake)).toEqual(matchers.map(() => undefined));
  });
});

describe('a form says what Perses would say', () => {
  it.each(examples(datasource, 'invalid'))('%s', (name) => {
    const said = findMistakes(specOf(datasource, `invalid/${name}`)).map(
      ({ field, message }) => `${field}: ${message}`
    );
    expect(said.join('\n')).toBe(errorOf(datasource, `invalid/${name}`));
  });

  it('minStep of a query', () => {
    const names = examples(query, 'invalid').filter((name) => name.startsWith('min-step'));
    expect(names).not.toEqual([]);
    for (const name of names) {
      const { minStep } = specOf(query, `invalid/${name}`);
      expect(`spec.minStep: ${String(minStepMistake(minStep as string))}`).toBe(errorOf(query, `invalid/${name}`));
    }
  });

  it('matchers of a threshold query', () => {
    const names = examples(thresholdQuery, 'invalid').filter((name) => /^matcher-(?!not)/.test(name));
    expect(names.length).toBeGreaterThan(4);
    for (const name of names) {
      const matchers = specOf(thresholdQuery, `invalid/${name}`).matchers as string[];
      const index = matchers.findIndex((matcher) => matcherMistake(matcher) !== undefined);
      const message = matcherMistake(matchers[index] ?? '');
      expect(`spec.matchers.${String(index)}: ${String(message)}`).toBe(errorOf(thresholdQuery, `invalid/${name}`));
    }
  });

  it('all mistakes at once', () => {
    const mistakes = findMistakes({ threshold: '0s', hot: { service: { port: 0 }, retention: '' }, weight: 1 });
    expect(mistakes.map(({ field }) => field)).toEqual([
      'spec.proxy',
      'spec.threshold',
      'spec.hot.service.namespace',
      'spec.hot.service.name',
      'spec.hot.service.port',
      'spec.hot.retention',
      'spec.weight',
    ]);
  });

  it('all mistakes of all hot tiers', () => {
    const proxy = { kind: 'HTTPProxy', spec: { url: 'http://tierproxy:9190/proxy/globaldatasources/metrics' } };
    const hot = [{ url: 'ftp://a', retention: '0s' }, { service: {} }, { name: 'eu-1' }, { name: 'eu-1' }, {}, null];
    expect(findMistakes({ hot, proxy }).map(({ field }) => field)).toEqual([
      'spec.hot[0].url',
      'spec.hot[0].retention',
      'spec.hot[1].service.namespace',
      'spec.hot[1].service.name',
      'spec.hot[3].name',
      'spec.hot[4]."url, service or name"',
      'spec.hot[5]',
    ]);
  });
});

describe('the CUE models and the form', () => {
  const cue = [datasource, query, thresholdQuery]
    .flatMap((folder) => readdirSync(folder).map((file) => `${folder}/${file}`))
    .filter((file) => file.endsWith('.cue'))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  /** Strings of CUE, by the name of their definition; what =~ matches, for definitions that are no plain string. */
  const strings = new Map(
    [...cue.matchAll(/^([#_]\w+):\s+(?:=~|\(?=~)?"((?:[^"\\]|\\.)*)"/gm)].map(([, name = '', text = '']) => [
      name,
      text,
    ])
  );
  function resolve(name: string): string {
    const text = strings.get(name);
    if (text === undefined) {
      throw new Error(`the models hold no string ${name}`);
    }
    return text
      .split(/\\\((?:ds\.)?([#\w]+)\)/)
      .map((part, index) => (index % 2 === 1 ? resolve(part) : part.replace(/\\([\\"])/g, '$1')))
      .join('');
  }

  it.each([
    ['#durationPattern', patterns.durationPattern],
    ['#tierName', patterns.tierNamePattern],
    ['#tierURL', patterns.tierUrlPattern],
    ['#label', patterns.labelPattern],
    ['#proxyURL', patterns.proxyUrlPattern],
    ['#variable', patterns.variablePattern],
    ['#matcher', patterns.labelMatcherPattern],
  ])('have the same pattern: %s', (name, pattern) => {
    expect(pattern).toBe(resolve(name));
  });

  it('have the same words', () => {
    const said = new Set(
      [...cue.matchAll(/(?:error\(|Rule: )"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text.replaceAll('\\"', '"'))
    );
    for (const message of Object.values(messages)) {
      expect(said).toContain(message);
    }
  });
});
