import { describe, expect, it } from 'vitest';
import { parseProxyUrl, proxyUrlOf, suggestProxyUrl } from './proxy-url';

describe('a proxy URL', () => {
  it.each([
    ['http://tierproxy:9190/proxy/globaldatasources/metrics', {}, 'metrics', ''],
    ['https://h/a/proxy/b/proxy/projects/p/datasources/m/?site=lab', { project: 'p' }, 'm', '/?site=lab'],
    ['http://h/proxy/projects/p/dashboards/d/datasources/m', { project: 'p', dashboard: 'd' }, 'm', ''],
  ])('says which datasource it names: %s', (url, place, name, rest) => {
    const parsed = parseProxyUrl(url);
    expect(parsed).toMatchObject({ place, name, rest });
    expect(parsed === undefined ? '' : proxyUrlOf(parsed)).toBe(url);
  });

  it.each(['', 'http://tierproxy:9190', 'http://tierproxy:9190/proxy/globaldatasources/..'])(
    'is none where it names no datasource: %s',
    (url) => {
      expect(parseProxyUrl(url)).toBeUndefined();
    }
  );
});

describe('the suggestion of a proxy URL', () => {
  it.each([
    ['', 'metrics', undefined, 'http://tierproxy:9190/proxy/globaldatasources/metrics'],
    ['', 'metrics', { project: 'p' }, 'http://tierproxy:9190/proxy/projects/p/datasources/metrics'],
    ['http://tierproxy:9190', 'metrics', {}, 'http://tierproxy:9190/proxy/globaldatasources/metrics'],
    ['https://h/x/proxy/globaldatasources/old?a=b', 'new', {}, 'https://h/x/proxy/globaldatasources/new?a=b'],
    ['https://h/proxy/projects/p/datasources/old', 'new', undefined, 'https://h/proxy/projects/p/datasources/new'],
    ['https://h/proxy/projects/p/datasources/m', 'm', {}, 'https://h/proxy/globaldatasources/m'],
    ['', 'not a name', {}, undefined],
    ['', '..', {}, undefined],
  ])('%s of %s in %o', (url, name, place, expected) => {
    expect(suggestProxyUrl(url, name, place)).toBe(expected);
  });
});
