import { CssBaseline, ThemeProvider, useMediaQuery } from '@mui/material';
import { ChartsProvider, generateChartsTheme, getTheme } from '@perses-dev/components';
import type { ReactElement, ReactNode } from 'react';
import { createContext, useContext, useMemo, useState } from 'react';

type Mode = 'light' | 'dark';

const STORAGE_KEY = 'theme';

const ModeContext = createContext<{ mode: Mode; toggle: () => void } | undefined>(undefined);

/** Returns whether the page is light or dark, and a function that switches. */
export function useMode(): { mode: Mode; toggle: () => void } {
  const value = useContext(ModeContext);
  if (value === undefined) {
    throw new Error('useMode needs a Theme around it.');
  }
  return value;
}

/** Gives everything below it the theme of Perses: light or dark, as chosen here before, else as the system has it. */
export function Theme({ children }: { children: ReactNode }): ReactElement {
  const system: Mode = useMediaQuery('(prefers-color-scheme: dark)', { noSsr: true }) ? 'dark' : 'light';
  const [chosen, setChosen] = useState(() => localStorage.getItem(STORAGE_KEY));
  const mode = chosen === 'light' || chosen === 'dark' ? chosen : system;
  const context = useMemo(() => {
    const toggle = (): void => {
      const next = mode === 'dark' ? 'light' : 'dark';
      localStorage.setItem(STORAGE_KEY, next);
      setChosen(next);
    };
    return { mode, toggle };
  }, [mode]);
  const theme = useMemo(() => getTheme(mode), [mode]);
  const chartsTheme = useMemo(() => generateChartsTheme(theme, {}), [theme]);
  return (
    <ModeContext.Provider value={context}>
      <ThemeProvider theme={theme}>
        <CssBaseline />
        <ChartsProvider chartsTheme={chartsTheme} enablePinning={false} enableSyncGrouping={false}>
          {children}
        </ChartsProvider>
      </ThemeProvider>
    </ModeContext.Provider>
  );
}
