import { sql } from 'drizzle-orm'
import type { Browser, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { entryId } from '../../queues/catalogue.js'
import { mayHaveBrowser, startBrowser, watchedPage, type WatchedPage } from '../support/browser.js'
import { BACKEND, startTestBus, type TestBus } from '../support/bus.js'
import { OPERATOR } from '../support/ledger.js'

const isSkipped = !mayHaveBrowser()
let t: TestBus
let board: string
let operator: string
let browser: Browser
beforeAll(async () => {
  if (isSkipped) return
  t = await startTestBus({ api: true, agents: { devops: { concurrency: 4 }, planner: {} } })
  board = `${t.bus.url ?? ''}/board`
  operator = (await t.ledger.tokens.create(OPERATOR, { name: 'anna', role: 'operator' })).token
  browser = await startBrowser()
}, 600_000)
afterAll(async () => {
  if (isSkipped) return
  await browser.close()
  await t.stop()
})

describe.skipIf(isSkipped)('the board in a browser', () => {
  let watched: WatchedPage
  let page: Page
  beforeEach(async () => {
    watched = await watchedPage(browser, operator)
    page = watched.page
  })
  afterEach(async () => {
    await watched.context.close()
  })

  test('shows every queue and its entries, without an error and without asking any other host', async () => {
    const job = await t.enqueue({ subject: 'look at the disks', target_agent: 'planner' })
    await t.until(job.id, (j) => j.status === 'succeeded')

    await page.goto(board)
    await page.getByRole('link', { name: 'agent-devops' }).first().waitFor()
    await page.getByRole('link', { name: 'agent-planner' }).first().click()
    await page.getByText(entryId(job.id, 1)).click()
    await page.getByText('look at the disks').first().waitFor()

    expect(watched.errors).toEqual([])
    expect([...watched.origins]).toEqual([t.bus.url])
  })

  test('shows what agents and senders wrote as text, and runs none of it', async () => {
    const hostile = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><a href="javascript:window.pwned=1">click</a>`
    t.behave(async (hands) => {
      await hands.fail({ last_error: hostile })
    })
    const job = await t.enqueue({ subject: hostile, target_agent: 'planner', payload: { said: hostile } })
    await t.until(job.id, (j) => j.status === 'failed')
    t.behave(async (hands) => {
      await hands.complete()
    })

    await page.goto(`${board}/queue/agent-planner?status=failed`)
    await page.getByText(hostile).first().waitFor()
    await page.getByText(entryId(job.id, 1)).first().click()
    await page.getByText(hostile).first().waitFor()

    expect(await page.evaluate('window.pwned')).toBeUndefined()
    expect(await page.locator('img[src="x"], a[href^="javascript:"]').count()).toBe(0)
    expect(watched.errors).toEqual([])
  })

  test('a click on retry gives a dead letter another attempt, as the doing of that person at the board', async () => {
    t.behave(async () => 'ok')
    const job = await t.enqueue({ subject: 'never closed', max_attempts: 1 })
    await t.until(job.id, (j) => j.status === 'dead')
    t.behave(async (hands) => {
      await hands.complete()
    })

    await page.goto(`${board}/queue/agent-devops?status=failed`)
    await cardOf(page, entryId(job.id, 1)).locator('button:has(svg.lucide-refresh-cw)').click()
    await confirm(page)

    await t.until(job.id, (j) => j.status === 'succeeded')
    await page.getByText(entryId(job.id, 1)).waitFor({ state: 'detached' })
    const { transitions } = await t.ledger.jobHistory(job.id)
    expect(transitions.find((row) => row.reason === 'operator_retry')).toMatchObject({ actor_kind: 'board', actor: 'anna', note: 'retried at the board' })
    expect(watched.errors).toEqual([])
  })

  test('a click on pause pauses the agent in the ledger, and one on resume lets it work again', async () => {
    await page.goto(`${board}/queue/agent-devops`)
    await choose(page, 'Pause')
    await confirm(page)
    await page.getByText('[ Paused ]').waitFor()
    const { rows } = await t.ledger.db.execute(sql`select scope, target, set_by_kind, set_by from controls where lifted_at is null`)
    const held = await t.enqueue()

    await choose(page, 'Resume')
    await confirm(page)

    await page.getByText('[ Paused ]').waitFor({ state: 'detached' })
    await t.until(held.id, (job) => job.status === 'succeeded')
    expect(rows).toEqual([{ scope: 'agent', target: 'devops', set_by_kind: 'board', set_by: 'anna' }])
    expect((await t.ledger.listAgents('devops'))[0]?.paused).toBe(false)
    expect(watched.errors).toEqual([])
  })

  test('what would go past the ledger is refused, and the person is told why', async () => {
    const job = await t.enqueue({ target_agent: 'planner', run_after: '2099-01-01T00:00:00Z' })
    await page.goto(`${board}/queue/agent-planner?status=delayed`)
    await page.getByText(entryId(job.id, 1)).waitFor()

    await choose(page, 'Empty')
    await confirm(page)

    await page.getByText('It would change a queue without the ledger.').waitFor()
    expect((await t.ledger.getJob(job.id)).version).toBe(job.version)
    expect(watched.errors).toEqual([expect.stringContaining('405')])
  })
})

// On one backend: whoever is asked for credentials has not come as far as any queue.
describe.runIf(!isSkipped && BACKEND === 'redis')('without credentials', () => {
  test.each(['', '/', '/queue/agent-devops', '/api/queues', '/static/images/logo.svg'])('GET /board%s gives nothing but the question for them', async (path) => {
    const context = await browser.newContext()

    const answer = await context.request.get(`${board}${path}`)

    expect(answer.status()).toBe(401)
    expect(answer.headers()['www-authenticate']).toContain('Basic')
    expect(await answer.json()).toMatchObject({ code: 'AGENTBUS_UNAUTHORIZED' })
    await context.close()
  })

  test("a wrong password or an agent's token gives nothing either", async () => {
    const agent = (await t.ledger.tokens.create(OPERATOR, { name: 'devops agent', role: 'agent', agentId: 'devops' as never })).token
    const statuses: number[] = []

    for (const password of ['guessed', agent]) {
      const { context, page } = await watchedPage(browser, password)
      await page.goto(board).then(
        (answer) => statuses.push(answer?.status() ?? 0),
        // Chromium asks once, and gives up when the same credentials are refused again.
        () => statuses.push(401),
      )
      expect(await page.content()).not.toContain('agent-devops')
      await context.close()
    }

    expect(statuses).toEqual([401, 403])
  })
})

/** The part of the page that shows one entry with its buttons. */
function cardOf(page: Page, entry: string): Locator {
  return page
    .locator('main div, main li')
    .filter({ has: page.getByText(entry, { exact: true }) })
    .filter({ has: page.locator('svg.lucide-trash-2') })
    .last()
}

async function choose(page: Page, item: string): Promise<void> {
  await page.locator('main button[aria-haspopup="menu"]').click()
  await page.getByRole('menuitem', { name: item, exact: true }).click()
}

async function confirm(page: Page): Promise<void> {
  await page.getByRole('alertdialog').getByRole('button', { name: 'Confirm' }).click()
}
