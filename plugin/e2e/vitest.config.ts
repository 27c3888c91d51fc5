import { defineConfig } from 'vitest/config';

// The tests in a browser. backend/test starts the servers for them and runs this.
export default defineConfig({
  root: import.meta.dirname,
  cacheDir: '../../node_modules/.vite/e2e',
  test: {
    include: ['*.browser.ts'],
    fileParallelism: false,
    // Each test builds on those before it.
    bail: 1,
    testTimeout: 300_000,
    expect: { poll: { timeout: 120_000, interval: 100 } },
    hookTimeout: 60_000,
    reporters: ['verbose'],
  },
});
