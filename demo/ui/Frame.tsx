import { AppBar, Box, Button, IconButton, Toolbar, Tooltip } from '@mui/material';
import WeatherNight from 'mdi-material-ui/WeatherNight';
import WeatherSunny from 'mdi-material-ui/WeatherSunny';
import type { ReactElement, ReactNode } from 'react';
import { Link, useLocation } from 'react-router-dom';
import { useMode } from './theme';

const places = [
  { to: '/dashboards', label: 'Dashboards', path: /\/dashboards/ },
  { to: '/explore', label: 'Explore', path: /^\/explore/ },
  { to: '/admin/datasources', label: 'Datasources', path: /\/datasources/ },
];

/** The bar on top of every page, and the page below it. */
export function Frame({ children }: { children: ReactNode }): ReactElement {
  const { pathname } = useLocation();
  const { mode, toggle } = useMode();
  const other = mode === 'dark' ? 'Switch to the light theme' : 'Switch to the dark theme';
  return (
    <Box sx={{ display: 'flex', flexDirection: 'column', height: '100vh' }}>
      <AppBar
        position="static"
        elevation={0}
        sx={{ bgcolor: 'background.paper', color: 'text.primary', borderBottom: 1, borderColor: 'divider' }}
      >
        <Toolbar variant="dense" component="nav" aria-label="Pages" sx={{ gap: 1 }}>
          {places.map(({ to, label, path }) => {
            const here = path.test(pathname);
            return (
              <Button
                key={to}
                component={Link}
                to={to}
                color="inherit"
                aria-current={here ? 'page' : undefined}
                sx={{ borderRadius: 0, borderBottom: 2, borderColor: here ? 'currentColor' : 'transparent' }}
              >
                {label}
              </Button>
            );
          })}
          <Tooltip title={other}>
            <IconButton aria-label={other} onClick={toggle} color="inherit" sx={{ marginLeft: 'auto' }}>
              {mode === 'dark' ? <WeatherSunny /> : <WeatherNight />}
            </IconButton>
          </Tooltip>
        </Toolbar>
      </AppBar>
      <Box component="main" sx={{ flexGrow: 1, minHeight: 0, overflow: 'auto' }}>
        {children}
      </Box>
    </Box>
  );
}
