import { once } from 'node:events'
import http, { type IncomingMessage, type Server, type ServerOptions } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import { connect } from 'node:net'
import express from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Registry } from 'prom-client'
import { createApp } from '../../api/app.js'
import { listen } from '../../api/server.js'
import { createLogger } from '../../config/logger.js'
import { waitMs } from '../../contracts/job-waits.js'
import { openDatabase } from '../../ledger/database.js'
import { Ledger } from '../../ledger/ledger.js'
import { renderForTests, TEST_SECRET } from '../support/ledger.js'

const given: ServerOptions[] = []
const made: Server[] = []
const { createServer } = http
// Not `vi.mock`: it does not reach a module that the test file before has loaded.
beforeAll(() => {
  http.createServer = ((options: ServerOptions, listener: never) => {
    given.push(options)
    const server = createServer(options, listener)
    made.push(server)
    return server
  }) as typeof createServer
  syncBuiltinESMExports()
})
afterAll(() => {
  http.createServer = createServer
  syncBuiltinESMExports()
})

/** Something to wait for, and the means to let it happen. */
function signal(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

const local = { host: '127.0.0.1', port: 0 }

/** One whose answers at `/slow` wait for `finish`. */
async function slowServer(): Promise<{ server: Awaited<ReturnType<typeof listen>>; arrived: ReturnType<typeof signal>; finish: ReturnType<typeof signal> }> {
  const app = express()
  const arrived = signal()
  const finish = signal()
  app.get('/slow', async (_request, response) => {
    arrived.resolve()
    await finish.promise
    response.send('done')
  })
  const server = await listen(app, local)
  return { server, arrived, finish }
}

test('clients that send slowly are cut off: 10 s for headers, 30 s for a request, checked often enough to mean it', async () => {
  const server = await listen(express(), local)

  const options = given.at(-1)

  expect(options).toMatchObject({ headersTimeout: 10_000, requestTimeout: 30_000, maxHeaderSize: 16_384 })
  expect(options?.connectionsCheckingInterval).toBeLessThanOrEqual(10_000)
  await server.close()
})

test('clients that read nothing, and more clients than there are files for, are cut off; the longest wait for a job is not', async () => {
  const server = await listen(express(), local)

  expect(made.at(-1)).toMatchObject({ timeout: 330_000, maxConnections: 10_000 })
  expect(made.at(-1)?.timeout).toBeGreaterThan(waitMs('5m'))
  await server.close()
})

test('a taken port is told with what to set', async () => {
  const server = await listen(express(), local)
  const port = Number(new URL(server.url).port)

  const second = listen(express(), { host: '127.0.0.1', port })

  await expect(second).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG', message: expect.stringContaining('AGENTBUS_PORT') })
  await server.close()
})

test('a host that is not of this machine is told as such', async () => {
  await expect(listen(express(), { host: '192.0.2.1', port: 0 })).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG', message: expect.stringContaining('AGENTBUS_HOST') })
})

test('closing lets a running request finish and drops idle connections', async () => {
  const { server, arrived, finish } = await slowServer()
  const idle = connect(Number(new URL(server.url).port), '127.0.0.1')
  await once(idle, 'connect')
  const answer = fetch(`${server.url}/slow`)
  await arrived.promise

  const closed = server.close()
  finish.resolve()

  expect(await (await answer).text()).toBe('done')
  idle.destroy()
  await closed
})

test('closing cuts no answer that is written and still on its way to a slow reader', async () => {
  const app = express()
  const text = 'x'.repeat(24_000_000)
  const written = signal()
  app.get('/large', (_request, response) => {
    response.send(text)
    written.resolve()
  })
  const server = await listen(app, local)
  const client = connect(Number(new URL(server.url).port), '127.0.0.1')
  client.write('GET /large HTTP/1.1\r\nHost: here\r\n\r\n')
  await written.promise

  const closed = server.close()
  let received = 0
  client.on('data', (bytes) => {
    received += bytes.length
  })
  await once(client, 'close')

  expect(received).toBeGreaterThan(text.length)
  await closed
})

test('closing takes no longer than the requests under way, when clients keep their connections and go on asking', async () => {
  const { server, arrived, finish } = await slowServer()
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const ask = async (): Promise<IncomingMessage> => {
    const [response] = (await once(http.get(`${server.url}/slow`, { agent }), 'response')) as [IncomingMessage]
    response.resume()
    return response
  }
  const first = ask()
  await arrived.promise

  const closed = server.close()
  finish.resolve()
  let served = 0
  for (let next: Promise<IncomingMessage> | undefined = first; next !== undefined; next = served < 100 ? ask() : undefined) {
    const answer = await next.catch(() => undefined)
    if (answer === undefined) break
    served += 1
    await once(answer, 'end')
  }

  // The one that was under way, and at most one more that had been on its way to this connection.
  expect(served).toBeGreaterThanOrEqual(1)
  expect(served).toBeLessThanOrEqual(2)
  await closed
  agent.destroy()
})

test('a ledger that is away is a 503 that says when to come back, and tells nothing of where it is', async () => {
  const database = openDatabase({ url: 'postgres://someone:secretpassword@127.0.0.1:9/nothing', poolSize: 2, applicationName: 'test', onError: () => undefined })
  const ledger = new Ledger({ database, secret: TEST_SECRET, retryBaseSeconds: 1, nowMs: () => 0, random: () => 0, render: renderForTests })
  const app = createApp({ ledger, log: createLogger({ level: 'silent' }), registry: new Registry(), readiness: async () => [] })
  const server = await listen(app, local)

  const answer = await fetch(`${server.url}/v1/jobs`, { headers: { authorization: 'Bearer abt_x' } })
  const text = await answer.text()

  expect([answer.status, answer.headers.get('retry-after'), (JSON.parse(text) as { code: string }).code]).toEqual([503, '1', 'AGENTBUS_UNAVAILABLE'])
  expect(text).not.toMatch(/secretpassword|127\.0\.0\.1|someone/)
  await server.close()
  await database.close()
})
