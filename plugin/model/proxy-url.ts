import type { Place } from './check';
import { matches, proxyUrlPattern } from './patterns';

/** Address of the gateway where nothing else is known: that of the examples and of the deployment. */
export const DEFAULT_GATEWAY = 'http://tierproxy:9190';

/** What a proxy URL says: which gateway, and which datasource. */
export interface ProxyUrl {
  /** What stands before /proxy, such as "http://tierproxy:9190". */
  gateway: string;
  place: Place;
  /** Name of the datasource. */
  name: string;
  /** What stands behind the name: a slash, parameters, or nothing. */
  rest: string;
}

/** Reads a proxy URL; undefined where it is none by which a datasource can name itself. */
export function parseProxyUrl(url: string): ProxyUrl | undefined {
  if (!matches(proxyUrlPattern, url)) {
    return undefined;
  }
  const parts =
    /^([^?]*)\/proxy\/(?:globaldatasources|projects\/([^/]+)(?:\/dashboards\/([^/]+))?\/datasources)\/([^/?]+)(.*)$/.exec(
      url
    );
  const [, gateway = '', project, dashboard, name = '', rest = ''] = parts ?? [];
  return { gateway, place: { project, dashboard }, name, rest };
}

/** Writes the URL by which a datasource names itself at a gateway. */
export function proxyUrlOf({ gateway, place: { project, dashboard }, name, rest }: ProxyUrl): string {
  const scope =
    project === undefined
      ? 'globaldatasources'
      : `projects/${project}${dashboard === undefined ? '' : `/dashboards/${dashboard}`}/datasources`;
  return `${gateway}/proxy/${scope}/${name}${rest}`;
}

/**
 * Returns what the proxy URL of a datasource should be: as it is, with the place and the name of the datasource. Without a
 * URL it is at the default gateway. Undefined where the name cannot be part of a URL; Perses refuses such a name anyway.
 *
 * @param place where the datasource belongs; left out where that is not known: then where the URL says, or global
 */
export function suggestProxyUrl(url: string, name: string, place?: Place): string | undefined {
  const current = parseProxyUrl(url);
  const suggestion = proxyUrlOf({
    gateway: current?.gateway ?? DEFAULT_GATEWAY,
    place: place ?? current?.place ?? {},
    name,
    rest: current?.rest ?? '',
  });
  return parseProxyUrl(suggestion)?.name === name ? suggestion : undefined;
}
