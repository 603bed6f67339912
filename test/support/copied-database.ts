import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'

export interface CopiedDatabase {
  readonly url: string
  drop(): Promise<void>
}

/**
 * A database with all that is in another one on the server of the tests, to which nobody is connected. For files whose tests all begin with the same ledger: it is
 * filled once and copied for each.
 */
export async function copyDatabase(url: string): Promise<CopiedDatabase> {
  const name = `t_${randomBytes(8).toString('hex')}`
  // As in ledger.ts: copying files is quicker than writing them through the log.
  await asAdmin(`create database ${name} template ${new URL(url).pathname.slice(1)} strategy file_copy`)
  const copy = new URL(url)
  copy.pathname = `/${name}`
  return { url: copy.toString(), drop: () => asAdmin(`drop database if exists ${name} with (force)`) }
}

async function asAdmin(statement: string): Promise<void> {
  const admin = new pg.Client({ connectionString: inject('postgresUrl') })
  await admin.connect()
  try {
    await admin.query(statement)
  } finally {
    await admin.end()
  }
}
