import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { defineConfig } from '@rsbuild/core';
import { pluginReact } from '@rsbuild/plugin-react';

/**
 * Release of Perses whose packages make the page. Those of 0.53 are the page's own; those of 0.52 are the ones that the
 * plugin is developed with, at the root of the checkout. The browser tests use both.
 */
const release = process.env.PERSES_RELEASE ?? '0.53';

const root = join(import.meta.dirname, '../..');

function packagesOf052(): Record<string, string> {
  const require = createRequire(join(root, 'package.json'));
  const names = ['components', 'core', 'dashboards', 'explore', 'plugin-system'].map((name) => `@perses-dev/${name}`);
  return Object.fromEntries(names.map((name) => [name, dirname(require.resolve(`${name}/package.json`))]));
}

export default defineConfig({
  root: import.meta.dirname,
  source: { entry: { index: './index.tsx' } },
  resolve: { alias: release === '0.52' ? packagesOf052() : {} },
  html: { title: 'Tiered Prometheus', mountId: 'root' },
  output: {
    distPath: { root: join(root, 'build', `demo-ui-${release}`) },
    cleanDistPath: true,
    legalComments: 'none',
    assetPrefix: '/',
  },
  performance: { printFileSize: false },
  plugins: [pluginReact()],
});
