import {
  Box,
  Button,
  Chip,
  Dialog,
  DialogActions,
  DialogTitle,
  Link,
  Stack,
  Tab,
  Table,
  TableBody,
  TableCell,
  TableHead,
  TableRow,
  Tabs,
  Typography,
} from '@mui/material';
import { Drawer, ErrorAlert, ErrorBoundary, useSnackbar } from '@perses-dev/components';
import type { Action, Datasource, DatasourceDefinition } from '@perses-dev/core';
import { DatasourceEditorForm, ValidationProvider } from '@perses-dev/plugin-system';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import type { ReactElement } from 'react';
import { useState } from 'react';
import { Link as RouterLink, useParams } from 'react-router-dom';
import type { Scope } from '../api';
import { deleteDatasource, listDatasources, listProjects, saveDatasource } from '../api';

/** What the form edits: a datasource that exists, or one that does not yet. */
interface Editing {
  definition: DatasourceDefinition;
  action: Action;
}

/** What the form starts from; the same as in the web UI of Perses, where one then chooses the kind. */
const empty: DatasourceDefinition = {
  name: '',
  spec: { default: false, plugin: { kind: 'PrometheusDatasource', spec: {} } },
};

/** The datasources of all projects, or those of one: a list, and the form that creates, edits and deletes them. */
export function DatasourcesPage(): ReactElement {
  const { project } = useParams();
  const scope: Scope = { project };
  const queryKey = ['datasources', project];
  const [editing, setEditing] = useState<Editing>();
  const [deleting, setDeleting] = useState<string>();
  const queryClient = useQueryClient();
  const { successSnackbar, exceptionSnackbar } = useSnackbar();
  const { data: projects = [] } = useQuery({ queryKey: ['projects'], queryFn: listProjects });
  const { data = [], error } = useQuery<Datasource[], Error>({
    queryKey,
    queryFn: () => listDatasources(scope),
  });

  const close = (): void => {
    setEditing(undefined);
  };
  const change = (changing: Promise<unknown>, done: string): void => {
    changing.then(async () => {
      close();
      successSnackbar(done);
      await queryClient.invalidateQueries({ queryKey });
    }, exceptionSnackbar);
  };

  return (
    <Box sx={{ padding: 2 }}>
      <Stack direction="row" sx={{ alignItems: 'center' }}>
        <Typography variant="h1">Datasources</Typography>
        <Button
          variant="contained"
          sx={{ marginLeft: 'auto' }}
          onClick={() => {
            setEditing({ definition: empty, action: 'create' });
          }}
        >
          Add datasource
        </Button>
      </Stack>
      <Tabs value={project ?? ''} aria-label="Whose datasources">
        <Tab component={RouterLink} to="/admin/datasources" value="" label="All projects" />
        {projects.map(({ metadata: { name } }) => (
          <Tab
            key={name}
            component={RouterLink}
            to={`/projects/${encodeURIComponent(name)}/datasources`}
            value={name}
            label={`Project ${name}`}
          />
        ))}
      </Tabs>
      {error !== null && <ErrorAlert error={error} />}
      <Table>
        <TableHead>
          <TableRow>
            <TableCell>Name</TableCell>
            <TableCell>Kind</TableCell>
            <TableCell />
          </TableRow>
        </TableHead>
        <TableBody>
          {data.map(({ metadata: { name }, spec }) => (
            <TableRow key={name} hover>
              <TableCell>
                <Link
                  component="button"
                  onClick={() => {
                    setEditing({ definition: { name, spec }, action: 'read' });
                  }}
                >
                  {name}
                </Link>
              </TableCell>
              <TableCell>{spec.plugin.kind}</TableCell>
              <TableCell>{spec.default && <Chip size="small" label="default" />}</TableCell>
            </TableRow>
          ))}
        </TableBody>
      </Table>
      <Drawer isOpen={editing !== undefined} onClose={close} data-testid="datasource-editor">
        {editing !== undefined && (
          <ErrorBoundary FallbackComponent={ErrorAlert}>
            <ValidationProvider>
              <DatasourceEditorForm
                initialDatasourceDefinition={editing.definition}
                action={editing.action}
                isDraft={false}
                onActionChange={(action) => {
                  setEditing({ ...editing, action });
                }}
                onSave={(definition) => {
                  const isNew = editing.action === 'create';
                  change(saveDatasource(scope, definition, isNew), `Datasource ${definition.name} is saved`);
                }}
                onDelete={() => {
                  setDeleting(editing.definition.name);
                }}
                onClose={close}
              />
            </ValidationProvider>
          </ErrorBoundary>
        )}
      </Drawer>
      <Dialog open={deleting !== undefined}>
        <DialogTitle>Delete the datasource {deleting}?</DialogTitle>
        <DialogActions>
          <Button
            onClick={() => {
              setDeleting(undefined);
            }}
          >
            Cancel
          </Button>
          <Button
            variant="contained"
            color="error"
            onClick={() => {
              setDeleting(undefined);
              change(deleteDatasource(scope, deleting ?? ''), `Datasource ${deleting ?? ''} is deleted`);
            }}
          >
            Delete
          </Button>
        </DialogActions>
      </Dialog>
    </Box>
  );
}
