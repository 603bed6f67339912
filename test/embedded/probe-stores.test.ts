import { join } from 'node:path'
import { Redis } from 'ioredis'
import pg from 'pg'
import { describe, expect, inject, test } from 'vitest'
import { startEmbeddedPostgres } from '../../embedded/embedded-postgres.js'
import { freePort } from '../../embedded/free-port.js'
import { findRedisServer, startPrivateRedis } from '../../embedded/private-redis.js'
import { checkConnectionBudget, probePostgres, probeRedis, redactUrl } from '../../embedded/probe-stores.js'
import { copyCluster } from '../support/prepared-postgres.js'
import { onCleanup, silent, tempFolder } from './processes.js'

const binary = findRedisServer() ?? ''

async function aPostgres(): Promise<string> {
  const dataDir = join(await tempFolder(), 'data')
  await copyCluster(inject('preparedPostgres'), dataDir)
  const store = await startEmbeddedPostgres({ dataDir, log: silent })
  onCleanup(() => store.stop())
  return store.url
}

async function aRedis(): Promise<{ url: string; redis: Redis }> {
  const store = await startPrivateRedis({ dataDir: join(await tempFolder(), 'data'), binary, log: silent })
  onCleanup(() => store.stop())
  const redis = new Redis(store.url)
  onCleanup(async () => redis.disconnect())
  return { url: store.url, redis }
}

async function sql(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(text)
  await client.end()
}

test.each([
  ['postgres://me:hunter2@db.example/x', 'postgres://me:***@db.example/x'],
  ['postgres://me@db.example/x?password=hunter2&sslmode=require', 'postgres://me@db.example/x?password=***&sslmode=require'],
  ['redis://:hunter2@db.example:6379', 'redis://:***@db.example:6379'],
  ['redis://:hunt@er2@db.example:6379', 'redis://:***@db.example:6379'],
  ['redis://db.example:6379', 'redis://db.example:6379'],
  ['postgres://me:hunt/er2@db.example/x', 'postgres://***'],
  ['hunter2', '***'],
])('a password is not in what is shown of a URL (%#)', (url, shown) => {
  expect(redactUrl(url)).toBe(shown)
})

test('too few connections are refused with the settings that would change it', () => {
  expect(() => checkConnectionBudget({ needed: 10, available: 10 })).not.toThrow()
  expect(() => checkConnectionBudget({ needed: 11, available: 10 })).toThrow(/needs 11 .* 10 are free: lower AGENTBUS_PG_POOL/)
})

describe('probe of PostgreSQL', { timeout: 60_000 }, () => {
  test('a good server tells its version and its connections', async () => {
    const url = await aPostgres()

    expect(await probePostgres(url)).toEqual({ version: expect.stringMatching(/^\d+/) as string, maxConnections: 100, usedConnections: 0, superuserReserved: 3 })
  })

  test('a server that is not there is unreachable', async () => {
    const url = `postgres://me:hunter2@127.0.0.1:${await freePort()}/x`

    await expect(probePostgres(url)).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNREACHABLE', message: expect.stringContaining('ECONNREFUSED') as string })
    await expect(probePostgres(url)).rejects.not.toThrow('hunter2')
  })

  test('a wrong password and a missing database are told apart from a missing server', async () => {
    const url = await aPostgres()
    const wrong = url.replace(/:[0-9a-f]{64}@/, ':hunter2@')

    await expect(probePostgres(wrong)).rejects.toThrow('password authentication failed')
    await expect(probePostgres(wrong)).rejects.not.toThrow('hunter2')
    await expect(probePostgres(url.replace(/agentbus$/, 'nothing'))).rejects.toThrow('database "nothing" does not exist')
  })

  test('a database that is not UTF8 is unfit', async () => {
    const url = await aPostgres()
    await sql(url, "create database ascii template template0 encoding 'SQL_ASCII' locale 'C' locale_provider libc")

    const probe = probePostgres(url.replace(/agentbus$/, 'ascii'))

    await expect(probe).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNFIT', message: expect.stringContaining('SQL_ASCII') as string })
  })
})

describe.skipIf(binary === '')('probe of Redis', { timeout: 60_000 }, () => {
  test('a good server has nothing to warn of', async () => {
    const { url } = await aRedis()

    expect(await probeRedis(url)).toMatchObject({ policy: 'noeviction', aof: true })
  })

  test('a server that may evict jobs is unfit', async () => {
    const { url, redis } = await aRedis()
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru')

    await expect(probeRedis(url)).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNFIT', message: expect.stringContaining('allkeys-lru') as string })
  })

  test('a server that forbids CONFIG is judged by what it tells otherwise', async () => {
    const { url, redis } = await aRedis()
    await redis.acl('SETUSER', 'guest', 'on', '>hunter2', '~*', '&*', '+@all', '-config')

    const facts = await probeRedis(url.replace(/:\/\/:[0-9a-f]{64}@/, '://guest:hunter2@'))

    expect(facts.policy).toBe('noeviction')
  })

  test('a server without an append-only file is a warning', async () => {
    const { url, redis } = await aRedis()
    await redis.config('SET', 'appendonly', 'no')

    const { aof, warnings } = await probeRedis(url)

    expect(aof).toBe(false)
    expect(warnings.join()).toContain('append-only')
  })

  test('a read-only replica is unfit', async () => {
    const { url, redis } = await aRedis()
    await redis.replicaof('127.0.0.1', String(await freePort()))

    await expect(probeRedis(url)).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNFIT', message: expect.stringContaining('replica') as string })
  })

  test('a wrong password and a missing server are unreachable, without the password', async () => {
    const { url } = await aRedis()
    const wrong = url.replace(/:[0-9a-f]{64}@/, ':hunter2@')
    const missing = `redis://:hunter2@127.0.0.1:${await freePort()}`

    for (const bad of [wrong, missing]) {
      await expect(probeRedis(bad)).rejects.toMatchObject({ code: 'AGENTBUS_STORE_UNREACHABLE' })
      await expect(probeRedis(bad)).rejects.not.toThrow('hunter2')
    }
    await expect(probeRedis(wrong)).rejects.toThrow('WRONGPASS')
    await expect(probeRedis(missing)).rejects.toThrow('ECONNREFUSED')
  })
})
