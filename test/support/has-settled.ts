import type { TestLedger } from './ledger.js'

/** Whether it has settled by the time that PostgreSQL has answered something else. */
export async function hasSettled({ database }: Pick<TestLedger, 'database'>, promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const note = (): void => {
    settled = true
  }
  void promise.then(note, note)
  await database.pool.query('select 1')
  return settled
}
