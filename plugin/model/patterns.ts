// The patterns of the CUE model of the datasource, written with its words: patterns.test.ts compares the two, so that a
// form never accepts what Perses refuses, or the other way round.

const { raw } = String;

const milliseconds = '[0-9]{1,12}ms';
const seconds = `([0-9]{1,9}s(${milliseconds})?|${milliseconds})`;
const minutes = `([0-9]{1,7}m(${seconds})?|${seconds})`;
const hours = `([0-9]{1,5}h(${minutes})?|${minutes})`;
const days = `([0-9]{1,4}d(${hours})?|${hours})`;
const weeks = `([0-9]{1,3}w(${days})?|${days})`;
const years = `([0-9]{1,2}y(${weeks})?|${weeks})`;

const host = raw`([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])`;
const port = '([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])';
const plain = raw`[^\x00-\x20\x7f/?#%\\]`;
const name = '[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*';

/** A length of time as Prometheus writes it, such as "1h30m"; "0s" is one. */
export const durationPattern = `^${years}$`;

/** URL of a tier: http(s)://host[:port][/path]. */
export const tierUrlPattern = `^https?://${host}(:${port})?(/(${plain}|%[0-9A-Fa-f]{2}|/)*)?$`;

/** DNS-1123 label: the name of a namespace, of a service, or of a port that is not a number. */
export const labelPattern = '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$';

/** Name of a hot tier. */
export const tierNamePattern = raw`^[A-Za-z0-9._:/\[\]-]{1,253}$`;

/** URL by which a datasource names itself at the gateway. */
export const proxyUrlPattern =
  `^https?://${host}(:${port})?(/${plain}+)*/proxy/` +
  `(globaldatasources|projects/${name}(/dashboards/${name})?/datasources)/${name}/?` +
  raw`(\?[^\s#]*)?$`;

/** Reference to a dashboard variable, such as "$datasource". */
export const variablePattern = raw`^\$\w+$`;

const labelName = raw`([A-Za-z_][A-Za-z0-9_]*|"([^"\\]|\\.)+"|\$\w+|\$\{\w+(:\w+)?\})`;
const labelValue = raw`("([^"\\]|\\.)*"|'([^'\\]|\\.)*'|${'`'}[^${'`'}]*${'`'})`;

/** Label matcher such as 'severity="critical"', or a dashboard variable in its place. */
export const labelMatcherPattern = raw`^ *(${labelName} *(=~|!~|!=|=) *${labelValue}|\$\w+|\$\{\w+(:\w+)?\}) *$`;

/** Whether a value is a text that a pattern matches. Patterns are RE2, where \s, unlike here, is white space of ASCII. */
export function matches(pattern: string, value: unknown): value is string {
  return typeof value === 'string' && new RegExp(pattern.replaceAll(raw`\s`, raw`\t\n\f\r `)).test(value);
}

/** Whether a header chooses the tenant of a tier, which no dashboard variable may. */
export function isTenantHeader(name: string): boolean {
  return /^(x-scope-orgid|thanos-tenant)$/i.test(name);
}
