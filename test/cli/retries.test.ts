import { createServer } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { describe, expect } from 'vitest'
import { ApiClient } from '../../cli/client/api-client.js'
import { CliError } from '../../cli/io.js'
import { problem, TOKEN, type Reply } from './stand-in.js'
import { test } from './fixtures.js'

const ID = '0192f0c4-1111-7000-8000-00000000000a'
const COMPLETE = ['complete-job', ID, '--result', '{"n":1}']
const DONE: Reply = { status: 200, body: { id: ID, status: 'succeeded' } }

/** A port on which nobody listens. */
async function deadPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

describe('what may pass by itself', () => {
  for (const [what, fault] of [
    ['a connection that breaks off', 'hang up'],
    ['a 503 of agentbus', problem('AGENTBUS_UNAVAILABLE')],
    ['a 502 of a proxy', { status: 502, body: 'bad gateway', type: 'text/plain' }],
  ] as const) {
    test(`${what} is tried again with the same Idempotency-Key and the same body`, async ({ api, cli }) => {
      api.answers(fault, fault, DONE)

      const ran = await cli([...COMPLETE, '--json'])

      expect(ran).toMatchObject({ code: 0, stderr: '' })
      expect(JSON.parse(ran.stdout)).toMatchObject({ status: 'succeeded' })
      expect(api.seen.length).toBe(3)
      expect(new Set(api.seen.map((seen) => seen.headers['idempotency-key'])).size).toBe(1)
      expect(api.seen[0]?.headers['idempotency-key']).toMatch(/^[0-9a-f-]{36}$/)
      expect(new Set(api.seen.map((seen) => JSON.stringify(seen.body)))).toEqual(new Set(['{"result":{"n":1}}']))
    })
  }

  test('a key that was given is kept over the tries', async ({ api, cli }) => {
    api.answers('hang up', DONE)

    await cli([...COMPLETE, '--idempotency-key', 'mine'])

    expect(api.seen.map((seen) => seen.headers['idempotency-key'])).toEqual(['mine', 'mine'])
  })

  test('after three more tries it gives up with 6 and names the key, so that a repeat by hand is safe', async ({ api, cli }) => {
    api.always('hang up')

    const ran = await cli(COMPLETE)

    expect(ran).toMatchObject({ code: 6, stdout: '' })
    expect(api.seen.length).toBe(4)
    expect(ran.stderr).toContain(`--idempotency-key ${String(api.seen[0]?.headers['idempotency-key'])}`)
  })

  test('a 503 that stays exits with 6, and --json carries the problem and the key', async ({ api, cli }) => {
    api.always(problem('AGENTBUS_UNAVAILABLE'))

    const ran = await cli([...COMPLETE, '--json'])

    expect(ran).toMatchObject({ code: 6, stdout: '' })
    expect(JSON.parse(ran.stderr)).toMatchObject({ code: 'AGENTBUS_UNAVAILABLE', idempotency_key: api.seen[0]?.headers['idempotency-key'] })
  })

  test('nobody listening exits with 6 and says what to check', async ({ cli }) => {
    const url = `http://127.0.0.1:${await deadPort()}`

    const ran = await cli(['agents'], { env: { AGENTBUS_URL: url } })

    expect(ran).toEqual({ code: 6, stdout: '', stderr: `agentbus: Cannot reach agentbus at ${url}: ECONNREFUSED. Check that it runs and that AGENTBUS_URL is right.\n` })
  })

  test('a server that stays silent ends the call within its time', async ({ api }) => {
    api.always('stay silent')
    const client = new ApiClient({ url: api.url, token: TOKEN, totalMs: 250 })

    const failure = await client.call({ method: 'POST', path: '/v1/jobs', body: {} }).catch((error: unknown) => error)

    expect(failure).toBeInstanceOf(CliError)
    expect(failure).toMatchObject({ exitCode: 6, message: expect.stringContaining('no answer within 0.25 s') })
    expect(api.seen.length).toBe(1)
  })
})

describe('what does not pass by itself', () => {
  test('a 500 is not tried again', async ({ api, cli }) => {
    api.answers(problem('AGENTBUS_INTERNAL'), DONE)

    expect((await cli(COMPLETE)).code).toBe(1)
    expect(api.seen.length).toBe(1)
  })

  test('token create is not sent twice: the API cannot recognise the repeat, and a token nobody knows of would be left', async ({ api, cli }) => {
    api.always('hang up')

    const ran = await cli(['token', 'create', '--name', 'n', '--role', 'operator'])

    expect(ran.code).toBe(6)
    expect(api.seen.length).toBe(1)
    expect(ran.stderr).toContain('Whether it was carried out is not known')
  })
})
