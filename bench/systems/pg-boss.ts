import { randomUUID } from 'node:crypto'
import PgBoss from 'pg-boss'
import { z } from 'zod'
import type { Where } from '../stores.js'
import { payloadOf, type System } from './system.js'

/** How pg-boss is run. Its defaults fetch one job every two seconds, per call of `work`. */
export interface PgBossTuning {
  readonly name: string
  /** Calls of `work`: the documented way to work on several batches at a time. */
  readonly workers: number
  readonly options: PgBoss.WorkOptions
  /** Whether the documented `notifyWorker` is called at each batch and each `send`, so that no worker waits for its poll. */
  readonly notify: boolean
}

export const PG_BOSS_AS_IT_COMES: PgBossTuning = { name: 'pg-boss, as it comes', workers: 1, options: {}, notify: false }

export const PG_BOSS_TUNED: PgBossTuning = { name: 'pg-boss, tuned', workers: 2, options: { batchSize: 100, pollingIntervalSeconds: 0.5 }, notify: true }

export async function openPgBoss(where: Where, tuning: PgBossTuning): Promise<System> {
  const boss = new PgBoss(where.databaseUrl)
  boss.on('error', (error) => console.error(`pg-boss: ${error.message}`))
  await boss.start()
  const name = `bench-${randomUUID()}`
  await boss.createQueue(name)
  const workers: string[] = []
  const wake = (): void => {
    if (tuning.notify) for (const id of workers) boss.notifyWorker(id)
  }
  return {
    name: tuning.name,
    enqueue: async (number) => {
      await boss.send(name, payloadOf(number))
      wake()
    },
    enqueueMany: async (numbers) => {
      await boss.insert(numbers.map((number) => ({ name, data: payloadOf(number) })))
      wake()
    },
    work: async (onRun) => {
      for (let count = 0; count < tuning.workers; count += 1) {
        const id = await boss.work<{ number: number }>(name, tuning.options, async (jobs) => {
          for (const job of jobs) onRun(job.data.number)
          if (tuning.notify) boss.notifyWorker(id)
        })
        workers.push(id)
      }
    },
    ended: async () => {
      const { rows } = await boss.getDb().executeSql(`select count(*)::int as ended from pgboss.job where name = $1 and state = 'completed'`, [name])
      return z.tuple([z.object({ ended: z.int() })]).parse(rows)[0].ended
    },
    stop: () => boss.stop({ graceful: false, wait: true }),
  }
}
