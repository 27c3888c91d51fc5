import { afterEach, expect, it } from 'vitest';
import { currentPage } from './perses';

afterEach(() => {
  window.history.pushState({}, '', '/');
  delete window.PERSES_APP_CONFIG;
});

it.each([
  ['/', '', undefined],
  ['/admin/datasources', '', {}],
  ['/perses/admin', '/perses', {}],
  ['/projects/a%20b/datasources', '', { project: 'a b' }],
  ['/x/y/projects/p', '/x/y', { project: 'p' }],
  ['/projects/p/dashboards/d', '', { project: 'p', dashboard: 'd' }],
  ['/perses/projects/p/dashboards/d/panels', '/perses', { project: 'p', dashboard: 'd' }],
])('reads the address of a page: %s', (path, persesUrl, place) => {
  window.history.pushState({}, '', path);
  expect(currentPage()).toEqual({ persesUrl, place });
});

it('believes the application about its prefix', () => {
  window.history.pushState({}, '', '/projects/projects/p');
  window.PERSES_APP_CONFIG = { api_prefix: '/projects' };
  expect(currentPage().persesUrl).toBe('/projects');
});
