import { test as base } from 'vitest'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { run, StandInApi, TOKEN, type Ran, type RunOptions } from './stand-in.js'

export interface CliFixtures {
  readonly api: StandInApi
  /** A folder of this test alone; commands run in it. */
  readonly folder: string
  /** Runs a command against the stand-in, signed in by the environment. */
  readonly cli: (argv: readonly string[], options?: RunOptions) => Promise<Ran>
}

export const test = base.extend<CliFixtures>({
  api: async ({}, use) => {
    const api = new StandInApi()
    await api.start()
    await use(api)
    await api.stop()
  },
  folder: async ({}, use) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-cli-'))
    await use(folder)
    await rm(folder, { recursive: true, force: true })
  },
  cli: async ({ api, folder }, use) => {
    await use((argv, options = {}) => run(argv, { cwd: folder, ...options, env: { AGENTBUS_URL: api.url, AGENTBUS_TOKEN: TOKEN, ...options.env } }))
  },
})
