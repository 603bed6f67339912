import { defineConfig } from 'vitest/config'

/** `npm run test:openclaw`: the bus against a real OpenClaw gateway. Opt-in, for it installs 850 MB and needs about 1.5 GB of memory. */
export default defineConfig({
  test: {
    name: 'openclaw',
    include: ['test/openclaw-real/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts', 'test/openclaw-real/install-openclaw.ts'],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    teardownTimeout: 30_000,
    // One gateway at a time: two would not fit beside two builds on a small machine.
    fileParallelism: false,
  },
})
