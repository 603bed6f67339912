import path from 'node:path'
import { expect, inject, test } from 'vitest'
import { loadSettings } from '../../config/settings.js'
import { startStores } from '../../cli/stores.js'
import { findRedisServer } from '../../embedded/private-redis.js'
import { isAlive } from '../../embedded/process-identity.js'
import { onCleanup, serverPid, silent, tempFolder } from '../embedded/processes.js'
import { copyCluster } from '../support/prepared-postgres.js'

const hasRedis = findRedisServer() !== undefined

test.skipIf(!hasRedis)('a Redis that hangs does not hold up the stop of PostgreSQL, and is ended too', { timeout: 60_000 }, async () => {
  const dataDir = path.join(await tempFolder(), 'data')
  await copyCluster(inject('preparedPostgres'), dataDir)
  const stores = await startStores(loadSettings({ AGENTBUS_DATA_DIR: dataDir }), silent)
  onCleanup(() => stores.stop())
  const postgres = await serverPid(path.join(dataDir, 'postgres', 'data', 'postmaster.pid'))
  const redis = await serverPid(path.join(dataDir, 'redis', 'redis.pid'))
  process.kill(redis, 'SIGSTOP')

  const stopping = stores.stop()
  await expect.poll(() => isAlive(postgres), { timeout: 20_000, interval: 20 }).toBe(false)
  const redisWasLeft = await isAlive(redis)
  await stopping

  expect([redisWasLeft, await isAlive(redis)]).toEqual([true, false])
})
