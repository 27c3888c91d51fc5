import type { Mistake } from './check';
import {
  durationPattern,
  labelMatcherPattern,
  labelPattern,
  isTenantHeader,
  matches,
  proxyUrlPattern,
  tierNamePattern,
  tierUrlPattern,
  variablePattern,
} from './patterns';
import { MAX_HOT_TIERS } from './spec';

/** What is wrong with a value, in the words of the CUE models. */
export const messages = {
  duration: 'must be a duration such as 90s, 15m or 1h30m',
  positiveDuration: 'must be a duration longer than zero, such as 90s, 15m or 1h30m',
  tierUrl:
    'must be http(s)://host[:port][/path], with a port from 1 to 65535 and without user, parameters (use queryParams) or fragment',
  label: "must be 1 to 63 lower-case letters, digits or '-', with a letter or digit at both ends",
  servicePort: 'must be a number from 1 to 65535, without quotes, or the name of a port of the service',
  scheme: 'must be http or https',
  strategy: 'must be route or split',
  boolean: 'must be true or false, without quotes',
  hot: 'must be one tier, or a list of 1 to 200 tiers',
  tierName: 'must be 1 to 253 letters, digits or characters of . _ - : / [ ]',
  sameTierName: 'must differ from the names of the other hot tiers',
  entry: 'must be an object',
  bothUrlAndService: 'remove either url or service: a tier has one of them, not both',
  urlOrServiceAsField: 'set url or service, two fields of their own',
  proxyKind: 'must be HTTPProxy',
  proxyUrl:
    'must name this datasource: http(s)://GATEWAY/proxy/globaldatasources/NAME, or /proxy/projects/PROJECT/datasources/NAME',
  tenant: 'must be the tenant itself, not a dashboard variable, whose value every user chooses',
  queryParam: 'must be a string: put the value in quotes',
  minStep: 'must be a duration such as 30s or a variable such as "$interval"',
  matcher: 'must be a label matcher such as severity="critical"',
} as const;

/** What CUE itself says of fields, whatever their values. */
const cueMessages = {
  missing: 'field is required but not present',
  notAllowed: 'field not allowed',
} as const;

/** Finds what is wrong with the value at a path. */
type Rule = (value: unknown, path: string) => Mistake[];

/** Fields of a struct; the name of one that is required ends with an exclamation mark, as in CUE. */
type Fields = Readonly<Record<string, Rule>>;

const rule =
  (accepts: (value: unknown) => boolean, message: string): Rule =>
  (value, field) =>
    accepts(value) ? [] : [{ field, message }];

/** Fields of a struct. It is closed unless said otherwise. */
const struct =
  (fields: Fields, { open = false } = {}): Rule =>
  (value, path) => {
    if (!isObject(value)) {
      return [{ field: path, message: mismatch(value) }];
    }
    const known = new Map(Object.entries(fields).map(([name, check]) => [name.replace('!', ''), check]));
    const missing = Object.keys(fields)
      .filter((name) => name.endsWith('!') && value[name.slice(0, -1)] === undefined)
      .map((name): Mistake => ({ field: `${path}.${name.slice(0, -1)}`, message: cueMessages.missing }));
    const wrong = Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .flatMap(([name, each]) => {
        const field = `${path}.${name}`;
        return known.get(name)?.(each, field) ?? (open ? [] : [{ field, message: cueMessages.notAllowed }]);
      });
    return [...missing, ...wrong];
  };

const positiveDuration = rule(
  (value) => matches(durationPattern, value) && /[1-9]/.test(value),
  messages.positiveDuration
);
const duration = rule((value) => matches(durationPattern, value), messages.duration);
const label = rule((value) => matches(labelPattern, value), messages.label);

const service = struct({
  'namespace!': label,
  'name!': label,
  port: rule(
    (value) =>
      typeof value === 'number'
        ? Number.isInteger(value) && value >= 1 && value <= 65535
        : matches(labelPattern, value) && /[a-z]/.test(value),
    messages.servicePort
  ),
  scheme: rule((value) => value === 'http' || value === 'https', messages.scheme),
});

/** The fields that say where a tier is; it has one of them. */
const place = 'url or service';
const hotPlace = 'url, service or name';

/** A tier with these fields besides url and service. */
const tier =
  (fields: Fields, required: typeof place | typeof hotPlace): Rule =>
  (value, path) => {
    if (!isObject(value)) {
      return [{ field: path, message: mismatch(value) }];
    }
    const { url, service: named, ...rest } = value;
    const at = (name: string): string => `${path}.${name}`;
    if (url !== undefined && named !== undefined) {
      return [{ field: at('service'), message: messages.bothUrlAndService }];
    }
    if (url !== undefined) {
      const wrong = rule((text) => matches(tierUrlPattern, text), messages.tierUrl)(url, at('url'));
      return [...wrong, ...struct(fields)(rest, path)];
    }
    if (named !== undefined) {
      return [...service(named, at('service')), ...struct(fields)(rest, path)];
    }
    if (required === hotPlace && rest.name !== undefined) {
      return struct(fields)(rest, path);
    }
    // CUE says of a field by this name that it is missing where a tier is nowhere.
    const { [place]: asField, ...others } = rest;
    const message = asField === undefined ? cueMessages.missing : messages.urlOrServiceAsField;
    return [{ field: at(`"${required}"`), message }, ...struct(fields)(required === place ? others : rest, path)];
  };

const hotTier = tier(
  { name: rule((value) => matches(tierNamePattern, value), messages.tierName), retention: positiveDuration },
  hotPlace
);

/** One hot tier, or a list of them whose names differ. */
const hot: Rule = (value, path) => {
  if (isObject(value)) {
    return hotTier(value, path);
  }
  if (!Array.isArray(value) || value.length < 1 || value.length > MAX_HOT_TIERS) {
    return [{ field: path, message: messages.hot }];
  }
  const names = value.map((entry: unknown) => (isObject(entry) ? entry.name : undefined));
  return value.flatMap((entry: unknown, index) => {
    const at = `${path}[${String(index)}]`;
    if (!isObject(entry)) {
      return [{ field: at, message: messages.entry }];
    }
    const isTaken = typeof entry.name === 'string' && names.indexOf(entry.name) < index;
    return isTaken ? [{ field: `${at}.name`, message: messages.sameTierName }] : hotTier(entry, at);
  });
};

/** The headers that choose a tenant; Perses checks the others. */
const headers: Rule = (value, path) =>
  isObject(value)
    ? Object.entries(value)
        .filter(([name, text]) => isTenantHeader(name) && typeof text === 'string' && text.includes('$'))
        .map(([name]) => ({ field: `${path}."${name}"`, message: messages.tenant }))
    : [];

const spec = struct({
  threshold: positiveDuration,
  strategy: rule((value) => value === 'route' || value === 'split', messages.strategy),
  splitAcrossReplicas: rule((value) => typeof value === 'boolean', messages.boolean),
  cache: rule((value) => typeof value === 'boolean', messages.boolean),
  hot,
  cold: tier({ lag: duration }, place),
  scrapeInterval: positiveDuration,
  queryParams: (value, path) =>
    isObject(value)
      ? Object.entries(value).flatMap(([name, each]) =>
          rule((text) => typeof text === 'string', messages.queryParam)(each, `${path}.${name}`)
        )
      : [{ field: path, message: mismatch(value) }],
  'proxy!': struct({
    'kind!': rule((value) => value === 'HTTPProxy', messages.proxyKind),
    'spec!': struct(
      { 'url!': rule((value) => matches(proxyUrlPattern, value), messages.proxyUrl), headers },
      // Perses checks the rest of it.
      { open: true }
    ),
  }),
});

/**
 * Finds all mistakes in the spec of a TieredPrometheusDatasource, with the messages that Perses gives when it is saved.
 * Fields are named by their path, such as spec.hot.url.
 */
export function findMistakes(value: unknown): Mistake[] {
  return spec(value, 'spec');
}

/** Says what is wrong with the minStep of a query; undefined if nothing is. */
export function minStepMistake(value: string | undefined): string | undefined {
  return value === undefined || value === '' || matches(durationPattern, value) || matches(variablePattern, value)
    ? undefined
    : messages.minStep;
}

/** Says what is wrong with a label matcher; undefined if nothing is. */
export function matcherMistake(value: string): string | undefined {
  return matches(labelMatcherPattern, value) ? undefined : messages.matcher;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What CUE says of a value that stands where fields should be. */
function mismatch(value: unknown): string {
  const type = Array.isArray(value)
    ? 'list'
    : typeof value === 'number' && Number.isInteger(value)
      ? 'int'
      : typeof value;
  return `conflicting values ${JSON.stringify(value)} and {...} (mismatched types ${type} and struct)`;
}
