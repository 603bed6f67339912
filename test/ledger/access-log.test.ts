import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Caller } from '../../ledger/caller.js'
import { AccessLog } from '../../ledger/access-log.js'
import { freshLedger, type TestLedger } from '../support/ledger.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

const READER: Caller = { role: 'internal', actor: { kind: 'board', id: 'ana' } }
const routes = async () => (await t.database.pool.query<{ route: string }>('select route from accesses order by id')).rows.map(({ route }) => route)

test('reads that come while a batch is held up are written once each, and in one write at a time', async () => {
  const errors: unknown[] = []
  const log = new AccessLog({ db: () => t.database.db, onError: (error) => errors.push(error) })
  const holder = await t.database.pool.connect()
  await holder.query('begin; lock table accesses in access exclusive mode')
  const noted = Array.from({ length: 1_200 }, (_none, n) => `/r${n}`)
  const note = (route: string): void => log.note({ atMs: Date.now(), caller: READER, route, target: {}, status: 200 })

  noted.slice(0, 600).forEach(note)
  const flushes = [log.flush(), log.flush()]
  noted.slice(600).forEach(note)
  flushes.push(log.flush())
  const { rows } = await t.database.pool.query<{ n: number }>(`select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
  await holder.query('rollback')
  holder.release()
  await Promise.all(flushes)
  await log.stop()

  expect(rows[0]?.n).toBeLessThanOrEqual(1)
  expect(await routes()).toEqual(noted)
  expect(errors).toEqual([])
})

test('a write that fails is made again, and nothing is lost or written twice', async () => {
  const errors: unknown[] = []
  let fails = 2
  const db = new Proxy(t.database.db, {
    get: (target, name, receiver) => {
      if (name === 'execute' && fails > 0) {
        fails -= 1
        return () => Promise.reject(new Error('the ledger is away'))
      }
      return Reflect.get(target, name, receiver) as unknown
    },
  })
  const log = new AccessLog({ db: () => db, onError: (error) => errors.push(error) })
  for (let n = 0; n < 3; n += 1) log.note({ atMs: Date.now(), caller: READER, route: `/r${n}`, target: {}, status: 200 })

  await Promise.all([log.flush(), log.flush()])
  await log.flush()
  await log.flush()
  await log.stop()

  expect(errors).toHaveLength(2)
  expect(await routes()).toEqual(['/r0', '/r1', '/r2'])
})
