import { afterEach, expect, test } from 'vitest'
import { ListAlertsQuery } from '../../contracts/alerts.js'
import { alertRules } from '../support/alerts.js'
import { startCluster, type Cluster } from '../support/cluster.js'

let c: Cluster
afterEach(() => c.stop())

test('when the last worker is killed, the API alone sees that its heartbeat is stale and begins the alert', async () => {
  c = await startCluster()
  await alertRules(c.ledger, [{ name: 'workers', figure: 'stale_workers' }])
  const [worker] = await Promise.all([c.spawn('worker'), c.spawn('api')])
  await c.until('the worker beats', async () => (await c.ledger.listDispatchers()).length === 1)

  worker.kill('SIGKILL')
  // Silence of a minute, without waiting for it.
  await c.database.pool.query(`update dispatcher_heartbeats set last_seen = last_seen - interval '1 minute'`)

  await c.until('the alert begins', async () => (await c.ledger.listAlerts(ListAlertsQuery.parse({ status: 'open' }))).items.some(({ rule }) => rule === 'workers'))
  expect((await c.ledger.listAlerts(ListAlertsQuery.parse({ status: 'open' }))).items).toMatchObject([{ rule: 'workers', subject: 'fleet' }])
})
