import { defineConfig } from '@rsbuild/core';
import { pluginReact } from '@rsbuild/plugin-react';

export default defineConfig({
  root: import.meta.dirname,
  source: { entry: { index: './index.tsx' } },
  html: { title: 'Tiered Prometheus', mountId: 'root' },
  output: { distPath: { root: '../../build/demo-ui' }, cleanDistPath: true, legalComments: 'none', assetPrefix: '/' },
  performance: { printFileSize: false },
  plugins: [pluginReact()],
});
