import { createHmac, randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import { tokenReader } from '../../config/token-ref.js'
import { ListAlertsQuery, type AlertDeliveryView, type AlertRuleName } from '../../contracts/alerts.js'
import { waitAfter } from '../../ledger/alerts/deliveries.js'
import { AlertWatch } from '../../processors/alert-watch.js'
import { alertRules } from '../support/alerts.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { IS_LONG } from '../support/long.js'
import { startReceiver, type Receiver } from '../support/receiver.js'

const SECRET = 'a-key-that-must-never-be-seen-0123456789'
const RULE = 'dead-letters' as AlertRuleName

let t: TestLedger
let receiver: Receiver
let watch: AlertWatch
let ahead = 0
const lines: string[] = []
const watches: AlertWatch[] = []

function aWatch(workerId: string): AlertWatch {
  const destination = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(String(chunk))
      done()
    },
  })
  const readSecret = tokenReader({ env: { ALERT_KEY: SECRET, HOOK_URL: `${receiver.url}/path-that-is-a-secret?token=${SECRET}` }, simulatorToken: '' })
  const made = new AlertWatch({ ledger: t.ledger, log: createLogger({ level: 'debug', destination }), workerId, readSecret })
  watches.push(made)
  return made
}

beforeEach(async () => {
  ahead = 0
  lines.length = 0
  t = await freshLedger({ nowMs: () => Date.now() + ahead })
  receiver = await startReceiver()
  watch = aWatch('w1')
})
afterEach(async () => {
  for (const one of watches.splice(0)) await one.close()
  await receiver.close()
  await t.close()
})

const toWebhook = (webhook: Record<string, unknown> = {}, rule: Record<string, unknown> = {}) =>
  alertRules(t.ledger, [{ notify: [{ webhook: 'ops' }], ...rule }], [{ id: 'ops', url: receiver.url, secret: 'env:ALERT_KEY', timeout_seconds: 1, ...webhook }])
const aDeadJob = () => aJob(t.ledger, 'dead', { max_attempts: 1 })
const round = async (ms = 0): Promise<void> => {
  ahead += ms
  await t.ledger.alerts.evaluate()
  await watch.send()
}

async function delivery(): Promise<AlertDeliveryView> {
  const { items } = await t.ledger.listAlerts(ListAlertsQuery.parse({ status: 'any' }))
  const id = items[0]?.id
  const found = id === undefined ? undefined : (await t.ledger.alertHistory(id)).deliveries[0]
  if (found === undefined) throw new Error('nothing is owed')
  return found
}

/** Everything that the ledger holds about alerts, as text. */
async function rowsText(): Promise<string> {
  const tables = ['alerts', 'alert_history', 'alert_deliveries', 'alert_attempts', 'observations', 'events', 'fleet_versions']
  const all = await Promise.all(tables.map((table) => t.database.pool.query(`select to_jsonb(x)::text as row from ${table} x`)))
  return JSON.stringify(all.map(({ rows }) => rows as unknown[]))
}

describe('a webhook', () => {
  test('gets the incident as JSON, signed with its key, and its end with another id', async () => {
    await toWebhook()
    const dead = await aDeadJob()
    await round()
    await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
    await round()

    const [opened, resolved] = receiver.got
    const [, seconds, signature] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(opened?.headers['x-agentbus-signature'])) ?? []
    expect(signature).toBe(
      createHmac('sha256', SECRET)
        .update(`${seconds ?? ''}.${opened?.text ?? ''}`)
        .digest('hex'),
    )
    expect(Math.abs(Number(seconds) - Date.now() / 1000)).toBeLessThan(60)
    expect(opened).toMatchObject({
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: { notice: 'opened', rule: RULE, subject: 'devops', value: 1, threshold: 0 },
    })
    expect(opened?.headers['idempotency-key']).toBe(opened?.body['delivery_id'])
    expect(resolved?.body).toMatchObject({ notice: 'resolved', alert_id: opened?.body['alert_id'], resolved_as: 'cleared' })
    expect(resolved?.headers['idempotency-key']).not.toBe(opened?.headers['idempotency-key'])
    expect(receiver.got).toHaveLength(2)
  })

  test('that fails is tried again later and later, with the same id, and each try is a row', async () => {
    await toWebhook()
    await aDeadJob()
    receiver.answer((response) => void response.writeHead(receiver.got.length < 3 ? 500 : 200).end('ok'))

    await round()
    await round()
    const atOnce = receiver.got.length
    await round(3_000)
    await round(5_000)
    await round(60_000)

    const { status, tries, attempts } = await delivery()
    expect(atOnce).toBe(1)
    expect(receiver.got).toHaveLength(3)
    expect(new Set(receiver.got.map(({ headers }) => headers['idempotency-key'])).size).toBe(1)
    expect(new Set(receiver.got.map(({ text }) => text)).size).toBe(1)
    expect({ status, tries }).toEqual({ status: 'delivered', tries: 3 })
    expect(attempts.map(({ try_no, ok, http_status, error }) => [try_no, ok, http_status, error])).toEqual([
      [1, false, 500, 'answered 500'],
      [2, false, 500, 'answered 500'],
      [3, true, 200, null],
    ])
  })

  test('is waited for as long as it asks, within bounds, and twice as long after each failure', () => {
    expect([1, 2, 3, 12, 30].map((tries) => waitAfter(tries))).toEqual([2_000, 4_000, 8_000, 3_600_000, 3_600_000])
    expect([waitAfter(1, 30_000), waitAfter(1, 86_400_000)]).toEqual([30_000, 3_600_000])
  })

  test('that never answers is given up in time, and holds nobody else back', async () => {
    await toWebhook()
    await aDeadJob()
    receiver.answer(() => undefined)

    await round()

    expect(await delivery()).toMatchObject({ status: 'pending', tries: 1, attempts: [{ ok: false, http_status: null, error: 'no answer within 1 s' }] })
  })

  test('that never answers holds back no other receiver', async () => {
    const other = await startReceiver()
    await alertRules(
      t.ledger,
      [{ notify: [{ webhook: 'ops' }] }, { name: 'queue-depth', figure: 'queue_depth', notify: [{ webhook: 'team' }] }],
      [
        { id: 'ops', url: receiver.url, secret: 'env:ALERT_KEY', timeout_seconds: 30 },
        { id: 'team', url: other.url, secret: 'env:ALERT_KEY' },
      ],
    )
    receiver.answer(() => undefined)
    await aDeadJob()
    await t.ledger.alerts.evaluate()
    watch.start()
    await expect.poll(() => receiver.got.length, { timeout: 10_000 }).toBe(1)

    await aJob(t.ledger, 'queued')

    await expect.poll(() => other.got.map(({ body }) => body['rule']), { timeout: 10_000 }).toEqual(['queue-depth'])
    expect(receiver.got).toHaveLength(1)
    await other.close()
  })

  test('gets more messages than are posted at once, each once', async () => {
    const agents = Array.from({ length: 25 }, (_none, n) => `agent-${n}`)
    for (const id of agents) await t.addAgent(id)
    await toWebhook({ timeout_seconds: 30 }, { figure: 'queue_depth' })
    for (const id of agents) await aJob(t.ledger, 'queued', { target_agent: id })
    await t.ledger.alerts.evaluate()

    watch.start()

    await expect.poll(() => receiver.got.map(({ body }) => body['subject']).toSorted(), { timeout: 15_000 }).toEqual(agents.toSorted())
  })

  test('that redirects is not followed', async () => {
    const elsewhere = await startReceiver()
    await toWebhook()
    await aDeadJob()
    receiver.answer((response) => void response.writeHead(307, { location: `${elsewhere.url}/steal` }).end())

    await round()

    expect(elsewhere.got).toEqual([])
    expect((await delivery()).attempts).toMatchObject([{ ok: false, http_status: 307, error: 'answered 307; redirects are not followed' }])
    await elsewhere.close()
  })

  test('hears that it began before that it is over', async () => {
    await toWebhook()
    const dead = await aDeadJob()
    receiver.answer((response) => void response.writeHead(receiver.got.length === 1 ? 503 : 200).end())
    await round()
    await t.ledger.jobs.bury(OPERATOR, dead.id, 'obsolete')
    await round(100)
    await round(5_000)
    await round(100)

    expect(receiver.got.map(({ body }) => body['notice'])).toEqual(['opened', 'opened', 'resolved'])
  })

  test('leaves no key and no secret URL in a row or a log, whatever it answers', async () => {
    await toWebhook({ url: 'env:HOOK_URL' })
    await aDeadJob()
    receiver.answer((response, { headers, path }) => void response.writeHead(400, { 'x-echo': SECRET }).end(`${SECRET} ${String(headers['x-agentbus-signature'])} ${path}`))
    await round()
    receiver.answer((response) => void response.socket?.destroy())
    await round(10_000)

    const kept = `${await rowsText()}${lines.join('')}`
    expect(receiver.got.map(({ path }) => path)).toEqual(Array(2).fill(`/path-that-is-a-secret?token=${SECRET}`))
    expect(kept).not.toContain(SECRET)
    expect(kept).not.toContain('path-that-is-a-secret')
    expect(kept).not.toContain(String(receiver.got[0]?.headers['x-agentbus-signature']).slice(-64))
    expect(kept).toContain('env:HOOK_URL')
    expect(lines.some((line) => line.includes('alert.undelivered'))).toBe(true)
  })

  test.each(['http://169.254.169.254/latest', 'http://[fe80::1]/x', 'http://[::ffff:169.254.169.254]/x', 'http://2852039166/x', 'http://[fd00:ec2::254]/x'])(
    'at an address where clouds hand out credentials is not called: %s',
    async (url) => {
      await toWebhook({ url })
      await aDeadJob()

      await round()

      expect((await delivery()).attempts).toMatchObject([{ ok: false, error: expect.stringContaining('link-local') as string }])
    },
  )

  test('whose key is missing is a failed try that names where the key should be', async () => {
    await toWebhook({ secret: 'env:NOT_SET' })
    await aDeadJob()

    await round()

    expect((await delivery()).attempts[0]?.error).toContain('env:NOT_SET')
    expect(receiver.got).toEqual([])
  })

  test('that the fleet file names no more is given up', async () => {
    await toWebhook()
    await aDeadJob()
    await t.ledger.alerts.evaluate()
    await alertRules(t.ledger, [{ notify: [] }])

    await watch.send()

    expect(await delivery()).toMatchObject({ status: 'failed', attempts: [{ ok: false }] })
  })

  test('gets each message once, however many workers send', { repeats: IS_LONG ? 8 : 3, timeout: 60_000 }, async () => {
    receiver.got.length = 0
    await toWebhook({}, { name: `r-${randomBytes(4).toString('hex')}` })
    await aDeadJob()
    const workers = Array.from({ length: 16 }, (_none, at) => aWatch(`w${at}`))

    await Promise.all(
      workers.map(async (worker) => {
        await worker.look()
        await t.ledger.alerts.evaluate()
        await worker.send()
      }),
    )
    await Promise.all(workers.map((worker) => worker.send()))

    expect(receiver.got.map(({ body }) => body['notice'])).toEqual(['opened'])
  })

  test('gets a message again, with the same id, when its sender died before it wrote down that it had come', async () => {
    await toWebhook()
    await aDeadJob()
    await t.ledger.alerts.evaluate()
    // A worker that dies after its post has left only the claim.
    const [claimed] = await t.ledger.alerts.claimPosts({ limit: 10, claimSeconds: 45 })

    await round()
    const within = receiver.got.length
    await round(46_000)

    expect(within).toBe(0)
    expect(receiver.got.map(({ headers }) => headers['idempotency-key'])).toEqual([claimed?.delivery.id])
    expect(await delivery()).toMatchObject({ status: 'delivered', tries: 2, attempts: [{ try_no: 2, ok: true }] })
  })

  test('gets a test of its rule, which is no incident', async () => {
    await toWebhook()

    const { items } = await t.ledger.alerts.test(OPERATOR, RULE)
    await round()

    expect(items).toMatchObject([{ notice: 'test', receiver: 'ops', status: 'pending' }])
    expect(receiver.got.map(({ body }) => body)).toMatchObject([{ notice: 'test', rule: RULE, asked_by: 'operator:test-operator' }])
    expect((await t.ledger.listAlerts(ListAlertsQuery.parse({ status: 'any' }))).items).toEqual([])
  })
})
