import { defineConfig } from 'vitest/config';

// The tests in a browser. backend/test starts the servers for them and runs this; with --mode demo, the tests of the demo,
// and with --mode front, those behind nginx.
export default defineConfig(({ mode }) => ({
  root: import.meta.dirname,
  cacheDir: '../../node_modules/.vite/e2e',
  test: {
    include: [mode === 'demo' || mode === 'front' ? `*.${mode}.ts` : '*.browser.ts'],
    fileParallelism: false,
    // Each test builds on those before it.
    bail: 1,
    testTimeout: 300_000,
    expect: { poll: { timeout: 120_000, interval: 100 } },
    hookTimeout: 60_000,
    reporters: ['verbose'],
  },
}));
