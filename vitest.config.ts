import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { mainFields: ['module', 'main'], dedupe: ['react', 'react-dom', '@emotion/react', '@emotion/styled'] },
  test: {
    environment: 'jsdom',
    testTimeout: 60_000,
    setupFiles: ['plugin/testing/setup.ts'],
    include: ['plugin/**/*.test.{ts,tsx}'],
    server: { deps: { inline: [/@perses-dev/, /@mui/, /mdi-material-ui/] } },
  },
});
