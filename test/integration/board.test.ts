import { chromium as playwright, type Browser, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import type { JobView } from '../../contracts/jobs.js'
import { startTestBus, type TestBus } from '../support/bus.js'
import { OPERATOR } from '../support/ledger.js'

let t: TestBus
let token: string
beforeAll(async () => {
  t = await startTestBus({ api: true, agents: { devops: { concurrency: 4 }, auditor: {}, publisher: {} } })
  token = (await t.ledger.createToken(OPERATOR, { name: 'anna', role: 'operator' })).token
})
afterAll(() => t.stop())

async function put(path: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await fetch(`${t.bus.url ?? ''}${path}`, { method: 'PUT', headers: { authorization: `Basic ${Buffer.from(`anna:${token}`).toString('base64')}` } })
  const text = await answer.text()
  return { status: answer.status, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
}

/** A job that is over because its only attempt never closed it. */
async function aDeadJob(target_agent: string): Promise<JobView> {
  t.behave(async () => 'ok')
  const job = await t.enqueue({ target_agent, max_attempts: 1, subject: 'never closed' })
  const dead = await t.until(job.id, ({ status }) => status === 'dead')
  await inState(target_agent, `${job.id}-g1`, 'failed')
  t.behave(async (hands) => {
    await hands.complete()
  })
  return dead
}

async function inState(agentId: string, entry: string, state: string): Promise<void> {
  const queue = await t.bus.queues.get(agentId)
  await expect.poll(() => queue.getJobState(entry), { timeout: 10_000 }).toBe(state)
}

async function movesBy(job: JobView, reason: string): Promise<unknown[]> {
  return (await t.ledger.jobHistory(job.id)).transitions.filter((row) => row.reason === reason).map((row) => ({ actor_kind: row.actor_kind, actor: row.actor }))
}

const BY_ANNA = [{ actor_kind: 'board', actor: 'anna' }]

describe('over HTTP', () => {
  test('a path that is not percent-encoded is a 400 and changes nothing', async () => {
    const answers = [await put('/board/api/queues/%zz/pause'), await put('/board/api/queues/agent-devops/%zz/retry/failed')]

    expect(answers.map(({ status, body }) => [status, body['code']])).toEqual([
      [400, 'AGENTBUS_BAD_REQUEST'],
      [400, 'AGENTBUS_BAD_REQUEST'],
    ])
  })

  test('retry all retries every failed entry, and one that the ledger refuses does not stop the others', async () => {
    const dead = [await aDeadJob('publisher'), await aDeadJob('publisher'), await aDeadJob('publisher')]
    const gone = dead[1]
    if (gone === undefined) throw new Error('three jobs')
    // Retried elsewhere meanwhile: its failed entry is a leftover, and the ledger refuses to retry what has succeeded.
    await t.ledger.jobs.retry(OPERATOR, gone.id, { reason: 'by hand', extra_attempts: 1 })
    await t.until(gone.id, ({ status }) => status === 'succeeded')

    const answer = await put('/board/api/queues/agent-publisher/retry/failed')

    expect(answer.status).toBe(204)
    for (const job of dead) await t.until(job.id, ({ status }) => status === 'succeeded')
    expect(await movesBy(dead[0] as JobView, 'operator_retry')).toEqual(BY_ANNA)
    expect(await movesBy(dead[2] as JobView, 'operator_retry')).toEqual(BY_ANNA)
    expect(await movesBy(gone, 'operator_retry')).toEqual([{ actor_kind: 'operator', actor: 'test-operator' }])
  })

  test('promote all makes every delayed job due now', async () => {
    const run_after = new Date(Date.now() + 3_600_000).toISOString()
    const delayed = [await t.enqueue({ target_agent: 'auditor', run_after }), await t.enqueue({ target_agent: 'auditor', run_after })]
    for (const job of delayed) await inState('auditor', `${job.id}-g1`, 'delayed')

    const answer = await put('/board/api/queues/agent-auditor/promote')

    expect(answer.status).toBe(204)
    for (const job of delayed) {
      await t.until(job.id, ({ status }) => status === 'succeeded')
      expect(await movesBy(job, 'outside_change')).toEqual(BY_ANNA)
    }
  })
})

describe.skipIf(inject('chromium') === '')('in a browser', () => {
  let browser: Browser
  let page: Page
  const heard: string[] = []
  beforeAll(async () => {
    browser = await playwright.launch({
      executablePath: inject('chromium'),
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    })
    const context = await browser.newContext({ httpCredentials: { username: 'anna', password: token } })
    page = await context.newPage()
    page.on('console', (message) => {
      if (message.type() === 'error') heard.push(message.text())
    })
    page.on('pageerror', (error) => heard.push(String(error)))
    page.on('request', (request) => {
      if (!request.url().startsWith(t.bus.url ?? '')) heard.push(`asked ${request.url()}`)
    })
  })
  afterAll(() => browser.close())

  test('every queue is listed, and nothing is asked of another host or refused by the policy', async () => {
    await page.goto(`${t.bus.url ?? ''}/board`)

    for (const agent of ['devops', 'auditor', 'publisher']) await page.getByText(`agent-${agent}`).first().waitFor()
    expect(heard).toEqual([])
  })

  test('a click on retry reaches the ledger as the person who signed in', async () => {
    const dead = await aDeadJob('devops')
    await page.goto(`${t.bus.url ?? ''}/board/queue/agent-devops?status=failed`)
    await page.getByText(`${dead.id}-g1`).first().waitFor()

    await page.getByRole('button', { name: 'Retry all' }).click()
    const confirm = page.getByRole('button', { name: 'Confirm' })
    if (await confirm.isVisible().catch(() => false)) await confirm.click()

    await t.until(dead.id, ({ status }) => status === 'succeeded')
    expect(await movesBy(dead, 'operator_retry')).toEqual(BY_ANNA)
    expect(heard).toEqual([])
  })

  test('without a token the browser gets nothing', async () => {
    const context = await browser.newContext()
    const stranger = await context.newPage()

    await expect(stranger.goto(`${t.bus.url ?? ''}/board`)).rejects.toThrow('ERR_INVALID_AUTH_CREDENTIALS')
    expect(await stranger.textContent('body')).not.toContain('agent-')
    await context.close()
  })
})
