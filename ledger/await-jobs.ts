import { sql } from 'drizzle-orm'
import type { JobStatus } from '../contracts/job-states.js'
import type { Tx } from './database.js'

export interface AwaitedJob {
  readonly id: string
  readonly namespace: string
  readonly status: JobStatus
  readonly over: boolean
}

/**
 * Locks the jobs, in id order, and marks them as awaited: what this transaction reads of them stays true until it commits,
 * and whoever ends one of them later sees the mark and looks for those who wait.
 */
export async function awaitJobs(tx: Tx, ids: readonly string[]): Promise<AwaitedJob[]> {
  const { rows } = await tx.execute(sql`
    select id, namespace, status, finished_at is not null as over from jobs
    where id = any(${sql.param(ids)}::uuid[]) order by id for no key update`)
  await tx.execute(sql`update jobs set awaited = true where id = any(${sql.param(ids)}::uuid[]) and not awaited`)
  return rows as unknown as AwaitedJob[]
}
