import { randomUUID } from 'node:crypto'
import { Logger, makeWorkerUtils, run, type Runner } from 'graphile-worker'
import pg from 'pg'
import { z } from 'zod'
import type { Where } from '../stores.js'
import { payloadOf, type System } from './system.js'

/** How graphile-worker is run; what is not named here is as it comes: one job at a time. */
export interface GraphileTuning {
  readonly name: string
  readonly worker: NonNullable<GraphileConfig.Preset['worker']>
}

export const GRAPHILE_AS_IT_COMES: GraphileTuning = { name: 'graphile-worker, as it comes', worker: {} }

/** The configuration that its own documentation gives for its best figures: https://worker.graphile.org/docs/performance */
export const GRAPHILE_TUNED: GraphileTuning = {
  name: 'graphile-worker, tuned',
  worker: { concurrentJobs: 24, maxPoolSize: 25, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
}

const Payload = z.object({ number: z.int() })
const QUIET = new Logger(() => () => undefined)

export async function openGraphile(where: Where, tuning: GraphileTuning): Promise<System> {
  const task = `bench-${randomUUID()}`
  const preset: GraphileConfig.Preset = { worker: { ...tuning.worker, connectionString: where.databaseUrl, logger: QUIET } }
  const utils = await makeWorkerUtils({ preset })
  await utils.migrate()
  const counter = new pg.Client({ connectionString: where.databaseUrl })
  await counter.connect()
  let runner: Runner | undefined
  let stored = 0
  return {
    name: tuning.name,
    enqueue: async (number) => {
      await utils.addJob(task, payloadOf(number))
      stored += 1
    },
    enqueueMany: async (numbers) => {
      await utils.addJobs(numbers.map((number) => ({ identifier: task, payload: payloadOf(number) })))
      stored += numbers.length
    },
    work: async (onRun) => {
      runner = await run({ preset, noHandleSignals: true, taskList: { [task]: async (payload) => onRun(Payload.parse(payload).number) } })
    },
    // A job that has ended is deleted.
    ended: async () => {
      const before = stored
      const { rows } = await counter.query<{ left: number }>(
        `select count(*)::int as left from graphile_worker._private_jobs j join graphile_worker._private_tasks t on t.id = j.task_id where t.identifier = $1`,
        [task],
      )
      return before - (rows[0]?.left ?? 0)
    },
    stop: async () => {
      await runner?.stop()
      await utils.release()
      await counter.end()
    },
  }
}
