import { afterEach, beforeEach, expect, test } from 'vitest'
import { sql } from 'drizzle-orm'
import { inOneStatement, inTransaction, openDatabase, type Database } from '../../ledger/database.js'
import { TcpProxy } from '../chaos/tcp-proxy.js'
import { cloneDatabase } from '../support/ledger.js'

let link: TcpProxy
let database: Database
beforeEach(async () => {
  const url = new URL(await cloneDatabase())
  const target = { host: url.hostname, port: Number(url.port) }
  link = new TcpProxy(() => target)
  await link.start()
  url.hostname = '127.0.0.1'
  url.port = String(link.port)
  database = openDatabase({ url: url.toString(), poolSize: 4, applicationName: 'silence', onError: () => undefined, silenceMs: 400 })
})
afterEach(async () => {
  await link.set('open')
  await database.close()
  link.stop()
})

const one = sql`select ${1}::int as n`
const inATransaction = () => inTransaction(database.db, async (tx) => (await tx.execute(one)).rows)
const alone = () => inOneStatement(database.single, async (db) => (await db.execute(one)).rows)

test.each([
  ['a transaction', inATransaction],
  ['a statement of its own', alone],
])('%s on a connection that swallows everything ends as unavailable, and works again on a new one', async (_what, ask) => {
  expect(await ask()).toEqual([{ n: 1 }])
  await link.set('half_open')

  await expect(ask()).rejects.toMatchObject({ code: 'AGENTBUS_UNAVAILABLE' })

  await link.set('open')
  expect(await ask()).toEqual([{ n: 1 }])
})

test('a statement that the pool asks is given up as well, and the next one works', async () => {
  const ask = async () => (await database.db.execute(one)).rows
  expect(await ask()).toEqual([{ n: 1 }])
  await link.set('half_open')

  await expect(ask()).rejects.toThrow()

  await link.set('open')
  expect(await ask()).toEqual([{ n: 1 }])
})

test('a steady stream of statements does not keep a dead connection alive', async () => {
  await alone()
  await link.set('half_open')
  let isOver = false
  const first = alone().finally(() => {
    isOver = true
  })
  const others: Promise<unknown>[] = []
  const stream = setInterval(() => others.push(alone().catch((error: unknown) => error)), 20)

  await expect(first).rejects.toMatchObject({ code: 'AGENTBUS_UNAVAILABLE' })
  clearInterval(stream)

  expect(isOver).toBe(true)
  await link.set('open')
  await Promise.all(others)
})

test('a connection that is only idle stays', async () => {
  const pid = async (): Promise<unknown> => (await inTransaction(database.db, async (tx) => tx.execute(sql`select pg_backend_pid() as pid`))).rows
  const before = await pid()

  // Longer than the limit, in PostgreSQL: nothing is due on the pool's connection meanwhile.
  await database.single.execute(sql`select pg_sleep(0.3)`)
  await database.single.execute(sql`select pg_sleep(0.3)`)

  expect(await pid()).toEqual(before)
})

test.each([
  ['a statement that waits too long for another', '57014', sql`set local statement_timeout = '20ms'`, sql`select pg_sleep(5)`],
  ['a lock that does not come', '55P03', sql`set local lock_timeout = '20ms'`, sql`lock table jobs in access exclusive mode`],
])('%s is told as a bad moment, with the reason kept', async (_what, code, limit, statement) => {
  const holder = await database.pool.connect()
  await holder.query('begin; lock table jobs in access exclusive mode')

  const asked = inTransaction(database.db, async (tx) => {
    await tx.execute(limit)
    await tx.execute(statement)
  })

  await expect(asked).rejects.toMatchObject({ code: 'AGENTBUS_UNAVAILABLE', cause: { cause: { code } } })
  await holder.query('rollback')
  holder.release()
})
