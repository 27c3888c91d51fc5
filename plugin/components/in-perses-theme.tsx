import { ThemeProvider, useTheme } from '@mui/material';
import type { ComponentType, ReactElement } from 'react';

/**
 * Returns a component in which the theme of Perses holds as a whole. Colours and styles reach this bundle by the context
 * of emotion, which it shares with the page; the default properties of components, such as small text fields, come by one
 * of MUI, of which this bundle has a copy of its own.
 */
export function inPersesTheme<Props extends object>(Component: ComponentType<Props>): ComponentType<Props> {
  return function InPersesTheme(props: Props): ReactElement {
    return (
      <ThemeProvider theme={useTheme()}>
        <Component {...props} />
      </ThemeProvider>
    );
  };
}
