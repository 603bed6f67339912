import { defineConfig } from 'vitest/config'

/** Files of a project share their modules: reading them anew for each of 175 files took six minutes of CI. So nothing may be left changed in one, see test/api/server.test.ts. */
const shared = {
  globalSetup: ['test/support/global-setup.ts'],
  setupFiles: ['test/support/after-each-file.ts'],
  isolate: false,
  testTimeout: 30_000,
  hookTimeout: 60_000,
  teardownTimeout: 20_000,
}

/** What asks no queue, so that it would show the same twice: the console reads the ledger alone, and an API without workers looks at heartbeats in it. */
const ASKS_NO_QUEUE = ['test/browser/console.test.ts', 'test/crash/alerts-without-workers.test.ts']

/** `core` runs once; `redis` and `postgres` run the integration, crash and board tests on that queue backend. */
export default defineConfig({
  test: {
    globalSetup: shared.globalSetup,
    projects: [
      {
        test: {
          name: 'core',
          include: ['test/{contracts,config,embedded,openclaw,ledger,api,cli,board,docs,architecture,process,security}/**/*.test.ts'],
          ...shared,
          globalSetup: [],
        },
      },
      {
        test: { name: 'redis', include: ['test/{integration,crash,browser}/**/*.test.ts'], env: { TEST_QUEUE_BACKEND: 'redis' }, ...shared, globalSetup: [], testTimeout: 90_000 },
      },
      {
        test: {
          name: 'postgres',
          include: ['test/{integration,crash,browser}/**/*.test.ts'],
          exclude: ASKS_NO_QUEUE,
          env: { TEST_QUEUE_BACKEND: 'postgres' },
          ...shared,
          globalSetup: [],
          testTimeout: 90_000,
        },
      },
    ],
    maxWorkers: 2,
    fileParallelism: true,
  },
})
