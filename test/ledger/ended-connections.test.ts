import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { sql } from 'drizzle-orm'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isAway, openDatabase } from '../../ledger/database.js'
import { HintRelay } from '../../ledger/hint-relay.js'
import { HintBus } from '../../ledger/hints.js'
import { cloneDatabase } from '../support/ledger.js'

/** The way to PostgreSQL, with what has come along it. */
let way: { readonly url: string; readonly open: Set<Socket>; opened: number; onSent: (bytes: string) => void; close(): void }
beforeEach(async () => {
  const url = new URL(await cloneDatabase())
  const target = { host: url.hostname, port: Number(url.port) }
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(target)
    way.opened += 1
    open.add(near)
    near.on('data', (bytes) => {
      way.onSent(bytes.toString('latin1'))
      far.write(bytes)
    })
    far.pipe(near)
    near.on('close', () => {
      open.delete(near)
      far.destroy()
    })
    near.on('error', () => undefined)
    far.on('error', () => near.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url.port = String((server.address() as AddressInfo).port)
  url.hostname = '127.0.0.1'
  way = {
    url: url.toString(),
    open,
    opened: 0,
    onSent: () => undefined,
    close: () => {
      for (const socket of open) socket.destroy()
      server.close()
    },
  }
})
afterEach(() => way.close())

test.each(['single', 'grouped'] as const)('a %s statement that is asked for when all has ended is refused as by a server that is away, and opens nothing', async (which) => {
  const database = openDatabase({ url: way.url, poolSize: 4, applicationName: 'test', onError: () => undefined })
  await database[which].execute(sql`select 1`)
  await database.close()
  const before = way.opened

  const late = await database[which].execute(sql`select 1`).catch((error: unknown) => error)

  expect([isAway(late), way.opened]).toEqual([true, before])
  await expect.poll(() => way.open.size).toBe(0)
})

test('hints that are stopped while they begin to listen leave no connection', async () => {
  const bus = new HintBus()
  const relay = new HintRelay({ bus, url: way.url, windowMs: 1, onError: () => undefined })
  let stopped: Promise<void> | undefined
  way.onSent = (bytes) => {
    if (bytes.includes('listen agentbus_hints')) stopped = relay.stop()
  }

  await relay.start()
  await stopped

  expect(way.opened).toBe(1)
  await expect.poll(() => way.open.size).toBe(0)
})
