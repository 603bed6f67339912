import { randomBytes } from 'node:crypto'
import { asAdmin } from './ledger.js'

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
  await run(`create database ${name} template ${new URL(url).pathname.slice(1)} strategy file_copy`)
  const copy = new URL(url)
  copy.pathname = `/${name}`
  return { url: copy.toString(), drop: () => run(`drop database if exists ${name} with (force)`) }
}

const run = (statement: string): Promise<void> => asAdmin(async (admin) => void (await admin.query(statement)))
