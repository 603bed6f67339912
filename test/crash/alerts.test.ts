import { afterEach, expect, test } from 'vitest'
import { AlertsConfig, ListAlertsQuery } from '../../contracts/alerts.js'
import { startCluster, type Cluster } from '../support/cluster.js'
import { OPERATOR } from '../support/ledger.js'
import { startReceiver, type Receiver } from '../support/receiver.js'

let c: Cluster
let receiver: Receiver
afterEach(async () => {
  await c.stop()
  await receiver.close()
})

test(
  'workers killed between an incident and its delivery, and in the middle of a post: everybody is told, by one id, and two workers tell once',
  { timeout: 180_000 },
  async () => {
    receiver = await startReceiver()
    c = await startCluster({ agents: { devops: {}, publisher: {} }, env: { ALERT_KEY: 'k'.repeat(32), AGENTBUS_COMPLETION_GRACE_MS: '300' } })
    const alerts = AlertsConfig.parse({
      webhooks: [{ id: 'ops', url: receiver.url, secret: 'env:ALERT_KEY', timeout_seconds: 30 }],
      rules: [{ name: 'dead', figure: 'dead_letters', above: 0, clear_for_seconds: 0, notify: [{ webhook: 'ops' }, { agent: 'publisher' }] }],
    })
    await c.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], alerts }, { dryRun: false, prune: false })
    const job = await c.enqueue({ max_attempts: 1 })
    await c.ledger.jobs.bury(OPERATOR, job.id, 'make it dead').catch(() => undefined)
    const failing = await c.enqueue({ max_attempts: 1 })
    await c.database.pool.query('select 1')
    c.behave(async (run, close) => {
      if (run.message.includes(failing.id)) return
      await close()
    })
    // The receiver keeps the first post waiting: whoever sends it is killed with the post under way.
    receiver.answer(() => undefined)
    const first = await c.spawn('worker')
    await c.until('the first post is under way', async () => receiver.got.length === 1, 60_000)
    first.kill('SIGKILL')
    receiver.answer((response) => void response.writeHead(204).end())
    // The claim of the dead worker is made to run out at once.
    await c.database.pool.query(`update alert_deliveries set next_try_at = clock_timestamp() where status = 'pending'`)

    await Promise.all([c.spawn('worker'), c.spawn('worker')])
    const pending = async (): Promise<number> =>
      Number((await c.database.pool.query<{ n: string }>(`select count(*) as n from alert_deliveries where status = 'pending'`)).rows[0]?.n)
    await c.until('everybody is told', async () => (await pending()) === 0, 60_000)
    const [alert] = (await c.ledger.listAlerts(ListAlertsQuery.parse({}))).items
    await c.ledger.jobs.bury(OPERATOR, failing.id, 'seen')
    await c.until('the end is told', async () => receiver.got.some(({ body }) => body['notice'] === 'resolved'), 60_000)
    await c.until('nothing is owed', async () => (await pending()) === 0, 60_000)

    expect(alert).toMatchObject({ rule: 'dead', subject: 'devops', told: 1 })
    expect(receiver.got.map(({ body }) => body['notice'])).toEqual(['opened', 'opened', 'resolved'])
    expect(receiver.got[0]?.headers['idempotency-key']).toBe(receiver.got[1]?.headers['idempotency-key'])
    const jobs = await c.database.pool.query<{ notice: string }>(`select payload ->> 'notice' as notice from jobs where job_type = 'alert.notice' order by id`)
    expect(jobs.rows.map(({ notice }) => notice)).toEqual(['opened', 'resolved'])
  },
)
