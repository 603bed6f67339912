import { createServer } from 'node:http'
import { Duplex } from 'node:stream'
import type { Express } from 'express'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { aJob } from '../support/ledger.js'
import { aBody, startApi, type TestApi } from './support.js'

let api: TestApi
let app: Express
beforeEach(async () => {
  api = await startApi({ commandsAtOnce: 1, mount: (own) => (app = own) })
})
afterEach(() => api.close())

/** Keeps every statement on a table waiting until it is let go. */
async function hold(table: string): Promise<{ readonly waiting: () => Promise<void>; readonly letGo: () => Promise<void> }> {
  const client = await api.t.database.pool.connect()
  await client.query(`begin; lock table ${table} in access exclusive mode`)
  return {
    waiting: async () => {
      for (let isWaiting = false; !isWaiting;) {
        const { rows } = await client.query('select from pg_locks l join pg_class c on c.oid = l.relation where not l.granted and c.relname = $1', [table])
        isWaiting = rows.length > 0
      }
    },
    letGo: async () => {
      await client.query('commit')
      client.release()
    },
  }
}

/** A request whose client goes away when it is told to. */
function ask(method: string, path: string, body?: unknown): { readonly answered: Promise<number | undefined>; readonly goAway: () => Promise<void> } {
  const leave = new AbortController()
  const answered = fetch(`${api.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${api.t.operatorToken}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    body: body === undefined ? null : JSON.stringify(body),
    signal: leave.signal,
  }).then(
    ({ status }) => status,
    () => undefined,
  )
  return {
    answered,
    goAway: async () => {
      leave.abort()
      await answered
      // The farewell is on its way before this question is: once it is answered, both were heard.
      await api.call('GET', '/healthz')
    },
  }
}

const create = (subject: string): ReturnType<typeof ask> => ask('POST', '/v1/jobs', aBody({ subject }))
const subjects = async (): Promise<string[]> =>
  (await api.t.database.pool.query<{ subject: string }>('select subject from jobs order by created_at')).rows.map((row) => row.subject)

test('a client that goes while it is signed in gets nothing done', async () => {
  const token = await api.operate('POST', '/v1/tokens', { body: { name: 'kept', role: 'auditor' } })
  const held = await hold('api_tokens')
  // Who has just signed in is remembered for a second, or until something of the fleet has changed.
  api.t.ledger.hints.give({ fleet: true })
  // Without a body, whose end would tell of the farewell too.
  const abandoned = ask('DELETE', `/v1/tokens/${String(token.body['id'])}`)
  await held.waiting()

  await abandoned.goAway()
  await held.letGo()

  const { body } = await api.operate('GET', '/v1/tokens')
  expect((body['items'] as Record<string, unknown>[]).find(({ name }) => name === 'kept')).toMatchObject({ revoked_at: null })
})

test('a client that goes while it waits for its turn gets nothing done, and who waits after it does', async () => {
  const held = await hold('jobs')
  const first = create('first')
  await held.waiting()
  const abandoned = create('abandoned')
  const third = create('third')
  await api.call('GET', '/healthz')

  await abandoned.goAway()
  await held.letGo()

  expect(await Promise.all([first.answered, third.answered])).toEqual([201, 201])
  expect(await subjects()).toEqual(['first', 'third'])
})

/** A connection on which the client has sent everything and then its end, and whose own end takes as long as it is held. */
class Ended extends Duplex {
  constructor(content: string) {
    super()
    this.push(content)
    this.push(null)
  }
  override _read(): void {}
  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    done()
  }
  // Until this calls back the connection counts as there.
  override _final(): void {}
}

test.each([
  ['complete', { result: { found: 'much' }, follow_ups: [aBody({ subject: 'what follows' })] }],
  ['progress', { note: 'halfway', details: { done: 1 } }],
  ['renew', { lease_seconds: 4_000 }],
])('a client that sends %s and leaves in the same moment has all of it carried out, or nothing', async (command, body) => {
  const job = await aJob(api.t.ledger, 'running')
  const before = (await api.t.ledger.jobHistory(job.id)).transitions.length
  const content = JSON.stringify(body)
  const head = [
    `POST /v1/jobs/${job.id}/${command} HTTP/1.1`,
    'Host: x',
    `Authorization: Bearer ${job.attemptToken ?? ''}`,
    'Content-Type: application/json',
    `Content-Length: ${content.length}`,
  ]
  const socket = new Ended(`${head.join('\r\n')}\r\n\r\n${content}`)

  // Express's parser leaves the body of a request out whose connection has ended, and says nothing of it.
  const server = createServer(app)
  server.emit('connection', socket)

  // What is asked after it and answered has been through all that it goes through, several times.
  for (let n = 0; n < 5; n += 1) await api.operate('POST', '/v1/events', { body: { topic: 'a.fact' } })
  expect((await api.t.ledger.jobHistory(job.id)).transitions.length).toBe(before)
  expect((await api.t.ledger.getJob(job.id)).status).toBe('running')
  socket.destroy()
})
