import type { PromQLEditorProps } from '@perses-dev/prometheus-plugin/lib/components/PromQLEditor';
import { encodeParameters } from './request';

/**
 * Makes the PromQL editor complete from a datasource: by the same way and with the same queryParams as its queries.
 * Without a URL, while the datasource is not known, only what belongs to PromQL itself is completed.
 */
export function completeConfig(
  datasourceUrl: string | undefined,
  queryParams: Record<string, string> = {}
): PromQLEditorProps['completeConfig'] {
  if (datasourceUrl === undefined) {
    return {};
  }
  const added = encodeParameters(queryParams).toString();
  const withAdded = (url: string): string => (added === '' ? url : `${url}${url.includes('?') ? '&' : '?'}${added}`);
  return {
    remote: {
      url: datasourceUrl,
      fetchFn: (input, init) => fetch(typeof input === 'string' ? withAdded(input) : input, init),
      // Completion is a help: where it is refused or fails there is none, and the query itself tells why.
      httpErrorHandler: () => undefined,
    },
  };
}
