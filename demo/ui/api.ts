import type {
  DashboardResource,
  Datasource,
  DatasourceDefinition,
  DatasourceResource,
  DatasourceSelector,
  GlobalDatasourceResource,
} from '@perses-dev/core';
import { fetch, fetchJson } from '@perses-dev/core';
import type { DatasourceStoreProviderProps } from '@perses-dev/dashboards';

/** A project, as far as this page needs it. */
export interface Project {
  kind: 'Project';
  metadata: { name: string };
}

/** Where datasources live: in a project, or, without one, for all projects. */
export interface Scope {
  project?: string;
}

const segment = encodeURIComponent;

function datasources({ project }: Scope): string {
  return project === undefined ? '/api/v1/globaldatasources' : `/api/v1/projects/${segment(project)}/datasources`;
}

function send<Answer>(method: 'POST' | 'PUT', path: string, body: unknown): Promise<Answer> {
  return fetchJson<Answer>(path, {
    method,
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
}

/** Lists the projects. */
export const listProjects = (): Promise<Project[]> => fetchJson('/api/v1/projects');

/** Lists the dashboards of all projects. */
export const listDashboards = (): Promise<DashboardResource[]> => fetchJson('/api/v1/dashboards');

/** Returns one dashboard. */
export function getDashboard(project: string, name: string): Promise<DashboardResource> {
  return fetchJson(`/api/v1/projects/${segment(project)}/dashboards/${segment(name)}`);
}

/** Creates a dashboard. */
export function createDashboard(dashboard: DashboardResource): Promise<DashboardResource> {
  return send('POST', `/api/v1/projects/${segment(dashboard.metadata.project)}/dashboards`, dashboard);
}

/** Saves a dashboard that exists. */
export function updateDashboard(dashboard: DashboardResource): Promise<DashboardResource> {
  const { project, name } = dashboard.metadata;
  return send('PUT', `/api/v1/projects/${segment(project)}/dashboards/${segment(name)}`, dashboard);
}

/** Lists the datasources of a scope, all of them or those of one kind of plugin. */
export function listDatasources(scope: Scope, pluginKind?: string): Promise<Datasource[]> {
  const filter = pluginKind === undefined ? '' : `?kind=${segment(pluginKind)}`;
  return fetchJson(datasources(scope) + filter);
}

/** Saves a datasource, which is new or exists already. */
export function saveDatasource(
  scope: Scope,
  { name, spec }: DatasourceDefinition,
  isNew: boolean
): Promise<Datasource> {
  const resource =
    scope.project === undefined
      ? { kind: 'GlobalDatasource', metadata: { name }, spec }
      : { kind: 'Datasource', metadata: { name, project: scope.project }, spec };
  return isNew
    ? send('POST', datasources(scope), resource)
    : send('PUT', `${datasources(scope)}/${segment(name)}`, resource);
}

/** Deletes a datasource. */
export async function deleteDatasource(scope: Scope, name: string): Promise<void> {
  await fetch(`${datasources(scope)}/${segment(name)}`, { method: 'DELETE' });
}

/** Finds the datasource that a selector means: by its name, else the default one of the kind, else the first. */
async function find<Kind extends Datasource>(scope: Scope, selector: DatasourceSelector): Promise<Kind | undefined> {
  const all = await listDatasources(scope, selector.kind);
  const found =
    selector.name === undefined
      ? (all.find(({ spec }) => spec.default) ?? all.at(0))
      : all.find(({ metadata }) => metadata.name === selector.name);
  return found as Kind | undefined;
}

/** How the views of Perses reach the datasources. */
export const datasourceApi: DatasourceStoreProviderProps['datasourceApi'] = {
  getDatasource: (project, selector) => find<DatasourceResource>({ project }, selector),
  getGlobalDatasource: (selector) => find<GlobalDatasourceResource>({}, selector),
  listDatasources: (project, kind) => listDatasources({ project }, kind) as Promise<DatasourceResource[]>,
  listGlobalDatasources: (kind) => listDatasources({}, kind) as Promise<GlobalDatasourceResource[]>,
  buildProxyUrl: ({ project, dashboard, name }) => {
    if (project === undefined) {
      return `/proxy/globaldatasources/${segment(name)}`;
    }
    const inside = dashboard === undefined ? '' : `/dashboards/${segment(dashboard)}`;
    return `/proxy/projects/${segment(project)}${inside}/datasources/${segment(name)}`;
  },
};
