import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import type { QueueBackend } from '../../queues/backend.js'
import { EpochSentinel } from '../../queues/epoch-sentinel.js'
import { createPostgresBackend } from '../../queues/postgres-backend.js'
import { createRedisBackend } from '../../queues/redis-backend.js'
import { TcpProxy } from '../chaos/tcp-proxy.js'
import { BACKEND } from '../support/bus.js'
import { cloneDatabase } from '../support/ledger.js'

let link: TcpProxy
let url: string
let errors: string[]
let backend: QueueBackend | undefined
beforeEach(async () => {
  const store = new URL(BACKEND === 'redis' ? inject('redisUrl') : await cloneDatabase())
  const target = { host: store.hostname, port: Number(store.port === '' ? 6_379 : store.port) }
  link = new TcpProxy(() => target)
  await link.start()
  store.hostname = '127.0.0.1'
  store.port = String(link.port)
  url = store.toString()
  errors = []
})
afterEach(async () => {
  await link.set('open')
  await backend?.close()
  link.stop()
})

function openBackend(more: { readonly silenceMs?: number } = {}): QueueBackend {
  const options = { url, onError: (error: Error) => void errors.push(error.message), ...more }
  backend =
    BACKEND === 'redis' ? createRedisBackend({ ...options, prefix: `t${randomBytes(5).toString('hex')}` }) : createPostgresBackend({ ...options, poolSize: 4, durable: false })
  return backend
}

test(`who asks on ${BACKEND} is told after some seconds that nothing comes, when connections are accepted and what is sent on them vanishes`, async () => {
  const store = openBackend()
  const sentinel = new EpochSentinel(store)
  await sentinel.read()
  await link.set('half_open')

  const asked = await Promise.allSettled([store.survey(['agent-devops']), store.wake(['agent-devops']), store.ping(100), sentinel.read()])

  await link.set('open')
  await sentinel.close()
  expect(asked.map((one) => (one.status === 'rejected' ? (one.reason as Error).message : 'answered'))).toEqual([
    'survey: no answer within 3000 ms',
    'wake: no answer within 3000 ms',
    `${BACKEND}: no answer within 100 ms`,
    'epoch mark: no answer within 3000 ms',
  ])
})

test(`a connection to ${BACKEND} that swallows everything is given up, and the next one works`, async () => {
  const store = openBackend({ silenceMs: 2_000 })
  await store.ping(20_000)
  await link.set('half_open')

  await expect(store.ping(100)).rejects.toThrow('no answer within 100 ms')
  await expect.poll(() => errors.join('\n'), { timeout: 20_000 }).toMatch(/it was silent for 2 s|Socket timeout/)

  await link.set('open')
  await store.ping(20_000)
})
