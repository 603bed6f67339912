import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import pg from 'pg'
import { inject } from 'vitest'
import { runCli } from '../../cli/run.js'
import { TEST_SECRET } from './ledger.js'

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a server command in process; `env` says on which ledger. */
export async function runServerCli(argv: readonly string[], env: Record<string, string>): Promise<Ran> {
  const said = { stdout: '', stderr: '' }
  const code = await runCli(argv, {
    env: { AGENTBUS_SECRET: TEST_SECRET, AGENTBUS_QUEUE_BACKEND: 'postgres', AGENTBUS_LOG_LEVEL: 'silent', ...env },
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    cwd: tmpdir(),
  })
  return { code, ...said }
}

/** A database with nothing in it, on the server of the tests. */
export async function emptyDatabase(): Promise<string> {
  const url = new URL(inject('postgresUrl'))
  const name = `t_${randomBytes(8).toString('hex')}`
  const admin = new pg.Client({ connectionString: url.toString() })
  await admin.connect()
  try {
    await admin.query(`create database ${name} template template0`)
  } finally {
    await admin.end()
  }
  url.pathname = `/${name}`
  return url.toString()
}
