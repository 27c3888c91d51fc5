import type { RequestOptions } from './request';
import { GatewayError, send } from './request';
import type { HotTier, TieredPrometheusDatasourceSpec } from './spec';
import { DATASOURCE_KIND } from './spec';

/** Path of the check, below that of a datasource. */
export const CHECK_PATH = '/api/v1/datasources/check';

/** Something in a spec that the gateway cannot work with. */
export interface Mistake {
  /** Path of the field, such as spec.threshold. */
  field: string;
  /** What the value must be. */
  message: string;
}

/** What became of the attempt to reach a tier; none: there is no such tier. One that is not known here may come. */
export type TierState =
  | 'ok'
  | 'name-not-found'
  | 'refused'
  | 'tls'
  | 'timeout'
  | 'denied-by-policy'
  | 'unauthorized'
  | 'not-prometheus'
  | 'closed'
  | 'unreachable'
  | 'service-unresolved'
  | 'unusable'
  | 'none';

/** What the gateway found when it asked a tier of a spec. */
export interface TierReport {
  /** Who names the tier: the datasource, the configuration of the gateway, or nobody. */
  source: 'datasource' | 'gateway' | 'none';
  /** URL that is asked. Left out where there is none, or where it is not for the caller to know. */
  address?: string;
  state: TierState;
  /** What the state means and what to change, for people. */
  message?: string;
  /** Why the tier would get no query although it answers. */
  unused?: string;
  /** What to change then. */
  remedy?: string;
  /** Kind of the server, such as Prometheus or Thanos Query. Left out where it is not known. */
  kind?: string;
  /** Version of the server, such as 3.16.0. */
  version?: string;
  /** Time of its oldest sample, RFC 3339. */
  oldest_sample?: string;
  /** Time from which on hot is asked, RFC 3339: later than its oldest sample where a gap or the retention makes it so. */
  coverage_start?: string;
  external_labels?: Record<string, string>;
  latency_seconds?: number;
}

/** What the gateway found when it asked one of several hot tiers. */
export interface HotTierReport extends TierReport {
  name: string;
}

/** The gateway's report on the spec of a datasource. */
export interface CheckReport {
  /** Whether the spec has no mistakes, and each of its tiers answers and would get queries. */
  ok: boolean;
  mistakes: Mistake[];
  /** Of several hot tiers, hot is a summary. */
  tiers: { hot?: TierReport; cold?: TierReport };
  /** Several hot tiers, in the order of the spec. One that finds several Services is there once for each. */
  hot_tiers?: HotTierReport[];
}

/** The reports on a hot tier of the spec that was checked: usually one, and none where they cannot be told apart. */
export function reportsOnHotTier(
  { tiers, hot_tiers }: CheckReport,
  hot: readonly HotTier[],
  index: number
): TierReport[] {
  if (hot_tiers === undefined) {
    return hot.length < 2 && tiers.hot !== undefined ? [tiers.hot] : [];
  }
  if (hot_tiers.length === hot.length) {
    return hot_tiers.slice(index, index + 1);
  }
  return hot_tiers.filter(({ name }) => name === hot[index]?.name);
}

/** Asks the gateway at a URL below which its check lies for a report on a spec, which need not be the saved one. */
export async function check(
  datasourceUrl: string,
  spec: TieredPrometheusDatasourceSpec,
  { headers, signal }: RequestOptions = {}
): Promise<CheckReport> {
  const { data } = await send<{ data: CheckReport }>(`${datasourceUrl}${CHECK_PATH}`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify(spec),
    signal,
  });
  return data;
}

/** Where a datasource belongs that need not be saved. */
export interface Place {
  /** Project of the datasource. Left out: it is a global one. */
  project?: string;
  /** Dashboard of the project in which the datasource lives. Left out: in none. */
  dashboard?: string;
}

/**
 * Asks the gateway that a spec names for a report on it, through the route of Perses for datasources that are not saved.
 * Perses wants the permission to create such a datasource for it.
 *
 * @param persesUrl where the API of Perses is: a path such as "/perses", or empty
 */
export async function checkUnsaved(
  persesUrl: string,
  place: Place,
  spec: TieredPrometheusDatasourceSpec,
  { headers, signal }: RequestOptions = {}
): Promise<CheckReport> {
  const { data } = await send<{ data: CheckReport }>(`${persesUrl}/proxy/unsaved/${scopeOf(place)}${CHECK_PATH}`, {
    method: 'POST',
    // Perses passes the type of this request on to the gateway, with the body that is wrapped in it.
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({
      method: 'POST',
      body: base64(JSON.stringify(spec)),
      spec: { default: false, plugin: { kind: DATASOURCE_KIND, spec } },
    }),
    signal,
  });
  return data;
}

/**
 * Asks for a report on a spec that need not be saved. Where the caller may not create datasources, the request goes the
 * way of the saved one, if there is one of this name; the gateway there is asked about the spec all the same.
 */
export async function checkDatasource(
  persesUrl: string,
  { name, ...place }: Place & { name?: string },
  spec: TieredPrometheusDatasourceSpec,
  options: RequestOptions = {}
): Promise<CheckReport> {
  try {
    return await checkUnsaved(persesUrl, place, spec, options);
  } catch (error) {
    if (name === undefined || !(error instanceof GatewayError) || error.status !== 403) {
      throw error;
    }
    return await check(`${persesUrl}/proxy/${scopeOf(place)}/${encodeURIComponent(name)}`, spec, options).catch(() => {
      // That there is none of this name is no news; that the caller may not create one is.
      throw error;
    });
  }
}

/** Path of the datasources of a place, as Perses has it. */
function scopeOf({ project, dashboard }: Place): string {
  return project === undefined
    ? 'globaldatasources'
    : `projects/${encodeURIComponent(project)}${dashboard === undefined ? '' : `/dashboards/${encodeURIComponent(dashboard)}`}/datasources`;
}

/** Base64 of the UTF-8 of a text. */
function base64(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(''));
}
