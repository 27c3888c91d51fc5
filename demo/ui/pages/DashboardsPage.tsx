import {
  Box,
  Button,
  Dialog,
  DialogActions,
  DialogContent,
  DialogTitle,
  Link,
  MenuItem,
  Stack,
  Table,
  TableBody,
  TableCell,
  TableHead,
  TableRow,
  TextField,
  Typography,
} from '@mui/material';
import { ErrorAlert, useSnackbar } from '@perses-dev/components';
import type { DashboardResource } from '@perses-dev/core';
import { useQuery } from '@tanstack/react-query';
import type { FormEvent, ReactElement } from 'react';
import { useState } from 'react';
import { Link as RouterLink, useNavigate } from 'react-router-dom';
import { createDashboard, listDashboards, listProjects } from '../api';

/** Time ranges that dashboards are offered at: the shortest is one that hot answers, the longest one for cold. */
const ranges = [
  { start: '5m', label: '5 minutes' },
  { start: '1h', label: '1 hour' },
  { start: '7d', label: '7 days' },
];

/** All dashboards, and a dialog that creates one. */
export function DashboardsPage(): ReactElement {
  const [creating, setCreating] = useState(false);
  const { data = [], error } = useQuery<DashboardResource[], Error>({
    queryKey: ['dashboards'],
    queryFn: listDashboards,
  });
  return (
    <Box sx={{ padding: 2 }}>
      <Stack direction="row" sx={{ alignItems: 'center', marginBottom: 2 }}>
        <Typography variant="h1">Dashboards</Typography>
        <Button
          variant="contained"
          sx={{ marginLeft: 'auto' }}
          onClick={() => {
            setCreating(true);
          }}
        >
          New dashboard
        </Button>
      </Stack>
      {error !== null && <ErrorAlert error={error} />}
      <Table>
        <TableHead>
          <TableRow>
            <TableCell>Dashboard</TableCell>
            <TableCell>Project</TableCell>
            <TableCell>The last …</TableCell>
          </TableRow>
        </TableHead>
        <TableBody>
          {data.map(({ metadata: { project, name }, spec }) => {
            const path = `/projects/${encodeURIComponent(project)}/dashboards/${encodeURIComponent(name)}`;
            return (
              <TableRow key={path} hover>
                <TableCell>
                  <Link component={RouterLink} to={path}>
                    {spec.display?.name ?? name}
                  </Link>
                </TableCell>
                <TableCell>
                  <Link component={RouterLink} to={`/projects/${encodeURIComponent(project)}/datasources`}>
                    {project}
                  </Link>
                </TableCell>
                <TableCell>
                  <Stack direction="row" spacing={2}>
                    {ranges.map(({ start, label }) => (
                      <Link key={start} component={RouterLink} to={`${path}?start=${start}`}>
                        {label}
                      </Link>
                    ))}
                  </Stack>
                </TableCell>
              </TableRow>
            );
          })}
        </TableBody>
      </Table>
      {creating && (
        <CreateDialog
          onClose={() => {
            setCreating(false);
          }}
        />
      )}
    </Box>
  );
}

function CreateDialog({ onClose }: { onClose: () => void }): ReactElement {
  const navigate = useNavigate();
  const { exceptionSnackbar } = useSnackbar();
  const { data: projects = [] } = useQuery({ queryKey: ['projects'], queryFn: listProjects });
  const [name, setName] = useState('');
  const [chosen, setChosen] = useState<string>();
  const project = chosen ?? projects.at(0)?.metadata.name ?? '';

  const create = (event: FormEvent): void => {
    event.preventDefault();
    createDashboard({
      kind: 'Dashboard',
      metadata: { project, name },
      spec: { duration: '5m', variables: [], layouts: [], panels: {} },
    }).then(() => {
      navigate(`/projects/${encodeURIComponent(project)}/dashboards/${encodeURIComponent(name)}`);
    }, exceptionSnackbar);
  };

  return (
    <Dialog open onClose={onClose} fullWidth maxWidth="xs">
      <form onSubmit={create}>
        <DialogTitle>New dashboard</DialogTitle>
        <DialogContent>
          <Stack spacing={2} sx={{ paddingTop: 1 }}>
            <TextField
              select
              required
              label="Project"
              value={project}
              onChange={(event) => {
                setChosen(event.target.value);
              }}
            >
              {projects.map(({ metadata }) => (
                <MenuItem key={metadata.name} value={metadata.name}>
                  {metadata.name}
                </MenuItem>
              ))}
            </TextField>
            <TextField
              required
              autoFocus
              label="Name"
              value={name}
              onChange={(event) => {
                setName(event.target.value);
              }}
            />
          </Stack>
        </DialogContent>
        <DialogActions>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="contained" disabled={name === '' || project === ''}>
            Create
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}
