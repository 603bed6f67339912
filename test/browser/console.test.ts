import { sql } from 'drizzle-orm'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ListAlertsQuery, type AlertId } from '../../contracts/alerts.js'
import { ResumeBody, SetControlBody } from '../../contracts/controls.js'
import type { JobId } from '../../contracts/ids.js'
import { EmitEventBody } from '../../contracts/events.js'
import { mayHaveBrowser, openWatched, signIn, startBrowser, watchedPage, type WatchedPage } from '../support/browser.js'
import { startTestBus, type TestBus } from '../support/bus.js'
import { visitPage, type Visit } from '../support/console-visit.js'
import { startConsole, type TestConsole } from '../support/console.js'
import { aJob, OPERATOR } from '../support/ledger.js'

const isSkipped = !mayHaveBrowser()
let c: TestConsole
let browser: Browser
/** Who looks at the pages. Signs in once; each test has a page of its own. */
let anna: BrowserContext
let watched: WatchedPage
let page: Page
beforeAll(async () => {
  if (isSkipped) return
  c = await startConsole()
  browser = await startBrowser()
  anna = await signIn(browser, c.token)
}, 600_000)
afterAll(async () => {
  if (isSkipped) return
  await browser.close()
  await c.close()
})
beforeEach(async () => {
  if (isSkipped) return
  watched = await openWatched(anna)
  page = watched.page
})
afterEach(async () => {
  if (!isSkipped) await page.close()
})

async function open(path: string): Promise<void> {
  await page.goto(c.url + path)
  await page.locator('#live.on').waitFor()
}

/** The address of one of each kind of page. */
async function everyPage(): Promise<[string, string][]> {
  const [dead] = (await c.t.ledger.console.jobs({ status: 'dead', limit: 1 })).items
  const slot = (await c.t.ledger.listSlots({ status: 'completed', limit: 1 })).items[0]
  return [
    ['Fleet', '/'],
    ['Accountability', '/console/accountability'],
    ['Slots of devops/look-around', '/console/slots?order=devops/look-around'],
    [slot?.order ?? '', `/console/slots/${slot?.id ?? ''}`],
    ['Jobs', '/console/jobs'],
    ['Job', `/console/jobs/${dead?.id ?? ''}`],
    ['Job', `/console/jobs/${c.waits.approvalJob}`],
    ['Flow of hand-offs', '/console/flow'],
    ['Blocked work and approvals', '/console/blocked'],
    ['Dead letters', '/console/dead-letters'],
    ['Health', '/console/health?window=24h'],
    ['Events', '/console/events'],
    ['Controls', '/console/controls'],
  ]
}

async function giveReason(scope: Page, title: string, reason: string, button: string): Promise<void> {
  const dialog = scope.getByRole('dialog', { name: title })
  await dialog.getByRole('textbox').last().fill(reason)
  await dialog.getByRole('button', { name: button, exact: true }).click()
}

describe.skipIf(isSkipped)('each page of the console', () => {
  const titles: string[] = []
  const visits: Visit[] = []
  const origins: string[] = []
  beforeAll(async () => {
    const visitor = await watchedPage(browser, c.token)
    for (const [title, path] of await everyPage()) {
      titles.push(title)
      visits.push(await visitPage(visitor, c.url, path))
    }
    origins.push(...visitor.origins)
    await visitor.context.close()
  }, 600_000)

  test('is shown without an error, without another host, and says that it is live', () => {
    expect(titles.length).toBeGreaterThan(0)
    expect(visits.map(({ heading }) => heading)).toEqual(titles)
    expect(visits.flatMap(({ errors }) => errors)).toEqual([])
    expect(origins).toEqual([c.url])
  })

  test.each(['light', 'dark'] as const)('hinders nobody in the %s theme, as far as axe sees', (theme) => {
    expect(visits.flatMap(({ path, hindrances }) => hindrances[theme].map((one) => `${path}: ${one}`))).toEqual([])
  })

  test('is no wider than a phone of 360 points, and squeezes no words into a column of letters', () => {
    const wide = visits.filter(({ phoneWidth }) => phoneWidth > 360).map(({ path }) => path)
    const squeezed = visits.flatMap((visit) => visit.squeezed.map((text) => `${visit.path}: ${text}`))

    expect([wide, squeezed]).toEqual([[], []])
  })

  test('is answered with a strict policy, and cannot be framed or kept', () => {
    for (const { headers, inline } of visits) {
      expect(headers['content-security-policy']).toBe("default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
      expect(headers['cache-control']).toBe('no-store')
      expect(inline).toBe(0)
    }
  })
})

describe.skipIf(isSkipped)('without the right to', () => {
  test.each(['/', '/console/jobs', '/console/live', '/console/assets/console.js'])('GET %s gives nothing but the question for credentials', async (path) => {
    const context = await browser.newContext()

    const answer = await context.request.get(c.url + path)

    expect(answer.status()).toBe(401)
    expect(answer.headers()['www-authenticate']).toContain('Basic')
    await context.close()
  })

  test("a page is not shown to an agent's token, and a form from another site changes nothing", async () => {
    const agent = await c.t.agentToken('devops')
    const { job } = await aJob(c.t.ledger, 'queued', { subject: 'not to be cancelled from elsewhere' })
    const body = new URLSearchParams({ id: job.id, reason: 'because', key: crypto.randomUUID() })

    const asAgent = await fetch(`${c.url}/`, { headers: { authorization: `Bearer ${agent}` } })
    const fromElsewhere = await fetch(`${c.url}/console/actions/cancel`, {
      method: 'POST',
      body,
      headers: { authorization: `Bearer ${c.token}`, origin: 'https://elsewhere.example' },
    })

    expect([asAgent.status, fromElsewhere.status]).toEqual([403, 403])
    expect((await c.t.ledger.getJob(job.id)).status).toBe('queued')
  })
})

describe.skipIf(isSkipped)('what is on the pages', () => {
  test('the fleet shows each agent with its state, its work, its queue, its last error and its breaker', async () => {
    await open('/')

    expect(await page.getByRole('row').count()).toBe(13)
    const offline = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'night-watch', exact: true }) })
    expect(await offline.textContent()).toMatch(/offline[\s\S]*breaker open[\s\S]*three hooks in a row were refused/)
    const busy = page.getByRole('row').filter({ has: page.getByRole('link', { name: 'security', exact: true }) })
    expect(await busy.textContent()).toMatch(/working[\s\S]*try 1/)
  })

  test('the fleet shows who is paused or draining, by what, and what it reads anew when that ends', async () => {
    await open('/')
    const strip = page.getByRole('region', { name: 'What is stopped' })
    const rowOf = (agent: string) => page.getByRole('row').filter({ has: page.getByRole('link', { name: agent, exact: true }) })

    expect(await rowOf('calendar').locator('td').nth(1).textContent()).toMatch(/draining\s+\d+ still running|drained/)
    expect(await rowOf('night-watch').locator('td').nth(1).textContent()).toMatch(/paused[\s\S]*with gateway gw-edge/)
    expect(await rowOf('writer').locator('td').nth(1).textContent()).not.toMatch(/paused|drain/)
    expect(await strip.getByRole('listitem').allTextContents()).toEqual(['lane idle', 'gateway gw-edge', 'agent calendar'].map((name) => expect.stringContaining(name) as string))
    expect(await strip.textContent()).toContain('moves to another host, by')
    await page.evaluate('window.same = true')
    await c.t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'drain', scope: 'agent', target: 'writer', reason: 'for a moment' }))
    await rowOf('writer').getByText('draining').waitFor()
    await c.t.ledger.controls.resume(OPERATOR, ResumeBody.parse({ scope: 'agent', target: 'writer', reason: 'over' }))
    await rowOf('writer').getByText('draining').waitFor({ state: 'detached' })
    expect(await page.evaluate('window.same')).toBe(true)
  })

  test('a cell of accountability names its outcome in words and a sign, and leads to the run and its evidence', async () => {
    await open('/console/accountability?window=6h')

    const cell = page.getByRole('link', { name: /: 1 completed$/ }).first()
    expect(await cell.textContent()).toContain('✓')
    await cell.click()

    await page.getByRole('heading', { name: 'Evidence' }).waitFor()
    await page.getByText('notes/today.md').waitFor()
    expect(watched.errors).toEqual([])
  })

  test('jobs are found by agent, lane, status, text, correlation key and id, and paged without a gap', async () => {
    const { job } = await aJob(c.t.ledger, 'queued', { subject: 'a needle in the hay', target_agent: 'writer', lane: 'memory', correlation_key: 'case-needle' })
    const find = async (query: string): Promise<string[]> => {
      await open(`/console/jobs?${query}`)
      return page.locator('#jobs tbody td:first-child a').allTextContents()
    }

    expect(await find('q=NEEDLE+in')).toEqual(['a needle in the hay'])
    expect(await find(`q=${job.id}`)).toEqual(['a needle in the hay'])
    expect(await find('correlation_key=case-needle')).toEqual(['a needle in the hay'])
    expect(await find('agent=writer&lane=memory&status=queued')).toContain('a needle in the hay')
    expect(await find('agent=devops&q=needle')).toEqual([])
    const first = await c.t.ledger.console.jobs({ limit: 50 })
    const second = await c.t.ledger.console.jobs({ limit: 50, cursor: first.next_cursor ?? '' })
    const all = await c.t.ledger.console.jobs({ limit: 100 })
    expect([...first.items, ...second.items].map((one) => one.id)).toEqual(all.items.map((one) => one.id))
  })

  test('the page of a job shows its time line, its prompt, its answer and its whole history', async () => {
    const [dead] = (await c.t.ledger.console.jobs({ status: 'dead', limit: 1 })).items
    await open(`/console/jobs/${dead?.id ?? ''}`)

    expect(await page.getByRole('img', { name: /^Time line: queued/ }).getAttribute('aria-label')).toMatch(/try 1: leased .*try 3: running/)
    await page.getByText('What the agent was sent').click()
    await page.locator('#prompt-text').getByText('attempt 3').waitFor()
    await page.getByRole('link', { name: /^try 1:/ }).click()
    await page.getByText('What the agent was sent').click()
    await page.locator('#prompt-text').getByText('attempt 1').waitFor()
    expect(await page.locator('#job-history tbody tr').count()).toBe(10)
  })

  test('what agents wrote is text: no script runs, no direction is turned, and length breaks nothing', async () => {
    const hostile = `<script>window.pwned=1</script><img src=x onerror="window.pwned=1">\u202egnp.exe`
    const long = 'x'.repeat(100_000)
    const failed = await aJob(c.t.ledger, 'running', {
      subject: hostile,
      target_agent: 'devops',
      payload: { said: hostile, long },
      correlation_key: hostile.slice(0, 60),
      max_attempts: 1,
    })
    await c.t.ledger.jobs.fail(failed.as, failed.id, { last_error: `${hostile} ${'y'.repeat(3_000)}`, result: {}, findings: [], events: [], follow_ups: [] })
    await c.t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'hostile.words', payload: { said: hostile, long: long.slice(0, 20_000) } }))
    // No command takes a subject so long; a row may still hold one.
    const huge = await aJob(c.t.ledger, 'queued', { subject: 'short' })
    await c.t.ledger.db.execute(sql`update jobs set subject = ${long} where id = ${huge.id}::uuid`)

    for (const path of ['/', '/console/jobs', `/console/jobs/${failed.id}`, `/console/jobs/${huge.id}`, '/console/dead-letters', '/console/events']) {
      await open(path)
      expect(await page.evaluate('window.pwned')).toBeUndefined()
      expect(await page.locator('img[src="x"], main script').count()).toBe(0)
      expect(await page.content()).not.toContain('\u202e')
    }
    await open(`/console/jobs/${failed.id}`)
    await page.locator('.subject').getByText('⟨U+202E⟩gnp.exe').waitFor()
    await page.setViewportSize({ width: 360, height: 740 })
    await open(`/console/jobs/${huge.id}`)
    expect(Number(await page.evaluate('document.documentElement.scrollWidth'))).toBeLessThanOrEqual(360)
    expect(watched.errors).toEqual([])
  })

  test('the flow says who handed what to whom, as a drawing and as a table', async () => {
    await open('/console/flow?window=7d')

    const drawn = await page.locator('.flow .ribbon title').allTextContents()
    const told = await page.locator('#flow tbody tr').count()
    expect(drawn.some((one) => /^coordinator → devops: \d+ jobs$/.test(one))).toBe(true)
    expect(told).toBe(drawn.length)
  })

  test('health shows what is stale, how deep the queues were, and how long things took', async () => {
    await open('/console/health?window=24h')

    await page.getByRole('img', { name: /^Open jobs over time, now \d+/ }).waitFor()
    expect(await page.locator('.tiles').textContent()).toMatch(/1 not seen for 20 s/)
    const { points } = (await c.t.ledger.console.health({ fromMs: Date.now() - 3_600_000, toMs: Date.now(), columns: 12 })).depth
    const { rows } = await c.t.ledger.db.execute(sql`select count(*)::int as n from jobs where finished_at is null`)
    expect(points.at(-1)?.open).toBe(rows[0]?.['n'])
  })

  test.each(['light', 'dark'] as const)('health draws waits and runs over time as two lines that are told apart without their colours, in the %s theme', async (theme) => {
    await page.emulateMedia({ colorScheme: theme })
    await open('/console/health?window=24h')

    for (const name of [/^Wait until a worker took it, over time: lately \d/, /^Run until it ended, over time: lately \d/]) await page.getByRole('img', { name }).waitFor()
    const pick = '({ strokeDasharray, stroke, fill }) => ({ dashes: strokeDasharray, colour: stroke, fill })'
    const styleOf = (kind: string) =>
      page.evaluate<{ dashes: string; colour: string; fill: string }>(`(${pick})(getComputedStyle(document.querySelector('#health-latency path.line.${kind}')))`)
    const [half, most] = [await styleOf('half'), await styleOf('most')]
    expect([half.dashes === 'none', most.dashes === 'none']).toEqual([true, false])
    expect([half.fill, most.fill]).toEqual(['none', 'none'])
    expect(half.colour).not.toBe(most.colour)
    await page.locator('#latency-table-summary').click()
    expect(await page.getByRole('table', { name: 'Waits and runs over time' }).locator('tbody tr').count()).toBe(48)
    expect(watched.errors).toEqual([])
  })
})

describe.skipIf(isSkipped)('incidents at the console', () => {
  const alertOf = (rule: string, subject: string) => page.getByRole('listitem').filter({ has: page.getByRole('heading', { name: `${rule}: ${subject}` }) })

  test('health shows the snapshot view in the numbers of the view', async () => {
    await open('/console/health')

    const { rows } = await c.t.ledger.db.execute(sql`select * from system_health_snapshot_v where namespace = 'default'`)
    const view = rows[0] ?? {}
    const cells = async (name: string): Promise<Record<string, string>> => {
      const table = page.getByRole('table', { name })
      const names = await table.locator('thead th').allTextContents()
      const values = await table.locator('tbody tr').first().locator('td').allTextContents()
      return Object.fromEntries(names.map((one, at) => [one.trim(), (values[at] ?? '').trim()]))
    }

    const number = (...names: string[]): string => names.reduce((sum, name) => sum + Number(view[name]), 0).toLocaleString('en')
    expect(await cells('Open work by namespace')).toMatchObject({
      Namespace: 'default',
      Queued: number('queued_count'),
      'In hand': number('leased_count', 'running_count'),
      Blocked: number('blocked_count'),
      'Dead letters': number('failed_count', 'dead_count'),
      'Open after 3 tries': number('retry_hotspot_count'),
    })
    expect(await cells('Standing orders of the last 24 hours, and workers, by namespace')).toMatchObject({
      completed: number('standing_completed_last_24h'),
      missed: number('standing_missed_last_24h'),
      Started: number('standing_runs_last_24h'),
    })
    expect(await cells('Opportunities and ideas, by namespace')).toMatchObject({
      New: '1',
      Accepted: '1',
      Converted: '0',
      'Ideas: new': '1',
      'Ideas: archived': '1',
    })
    expect(Number(view['queued_count'])).toBeGreaterThan(0)
    expect(Number(view['standing_runs_last_24h'])).toBeGreaterThan(0)
  })

  test('an open alert is counted at the top, and acknowledged with a reason in the name of the person', async () => {
    await open('/console/health')
    const mark = page.getByRole('link', { name: /^Health/ }).locator('.count')
    const before = Number.parseInt((await mark.textContent()) ?? '')
    const item = alertOf('gateway-down', 'gw-edge')
    expect(await item.textContent()).toMatch(/urgent[\s\S]*breaker open[\s\S]*allowed 60 s/)

    await item.getByRole('button', { name: 'Acknowledge…' }).click()
    await giveReason(page, 'Acknowledge this alert', 'the cable is being laid', 'Acknowledge')

    await page.getByRole('status').getByText('Acknowledged: gateway-down, gw-edge.').waitFor()
    await item.getByText('the cable is being laid').waitFor()
    expect(await item.getByRole('button', { name: 'Acknowledge…' }).count()).toBe(0)
    expect(Number.parseInt((await mark.textContent()) ?? '')).toBe(before - 1)
    const [alert] = (await c.t.ledger.listAlerts(ListAlertsQuery.parse({ rule: 'gateway-down' }))).items
    expect(alert).toMatchObject({ acknowledged_by: 'board:anna', note: 'the cable is being laid' })
    expect(watched.errors).toEqual([])
  })

  test.each([
    ['subject', 'only'],
    ['rule', 'every subject'],
  ])('an alert is silenced for its %s until a time, and the silence lifted, each with a reason', async (of, words) => {
    const [alert] = (await c.t.ledger.listAlerts(ListAlertsQuery.parse({ rule: 'dead-letters' }))).items
    const subject = alert?.subject ?? ''
    await open('/console/health')
    const item = alertOf('dead-letters', subject)

    await item.getByRole('button', { name: 'Silence…' }).click()
    const dialog = page.getByRole('dialog', { name: 'Silence this alert' })
    await dialog.getByLabel('For how long').selectOption('14400')
    await dialog.getByLabel('What').selectOption(of)
    expect(await dialog.getByLabel('What').locator('option:checked').textContent()).toContain(words)
    await giveReason(page, 'Silence this alert', 'known since Monday', 'Silence')
    await item.getByText('silenced until').waitFor()
    const [silence] = await c.t.ledger.listSilences()
    const shown = page.locator(`#silence-of-${silence?.id ?? ''}`)
    await shown.getByRole('button', { name: 'Lift…' }).click()
    await giveReason(page, 'Lift this silence', 'it is new again', 'Lift')
    await shown.waitFor({ state: 'detached' })

    expect(silence).toMatchObject({ rule: 'dead-letters', subject: of === 'subject' ? subject : null, created_by: 'board:anna', reason: 'known since Monday' })
    // The end is counted from when the form came in, a moment before the row.
    const lasts = Date.parse(silence?.until ?? '') - Date.parse(silence?.created_at ?? '')
    expect(lasts).toBeLessThanOrEqual(14_400_000)
    expect(lasts).toBeGreaterThan(14_340_000)
    expect(await c.t.ledger.listSilences()).toEqual([])
    expect(await item.getByText('silenced until').count()).toBe(0)
    expect(watched.errors).toEqual([])
  })

  test('a reason is asked for, and whoever comes second is told that the alert was taken', async () => {
    const [alert] = (await c.t.ledger.listAlerts(ListAlertsQuery.parse({ rule: 'dead-letters' }))).items
    await open('/console/health')
    await alertOf('dead-letters', alert?.subject ?? '')
      .getByRole('button', { name: 'Acknowledge…' })
      .click()
    const dialog = page.getByRole('dialog', { name: 'Acknowledge this alert' })
    await c.t.ledger.alerts.acknowledge(OPERATOR, alert?.id as AlertId, { reason: 'mine' })

    await dialog.getByRole('button', { name: 'Acknowledge', exact: true }).click()
    expect(await dialog.locator('textarea:invalid').count()).toBe(1)
    await dialog.getByRole('textbox').fill('mine, too')
    await dialog.getByRole('button', { name: 'Acknowledge', exact: true }).click()

    await dialog.getByRole('alert').getByText('AGENTBUS_ALERT_OVER').waitFor()
    expect((await c.t.ledger.alertHistory(alert?.id as AlertId)).alert.note).toBe('mine')
  })
})

describe.skipIf(isSkipped)('acting at the console', () => {
  test('an approval is decided by keyboard alone, with a note, in the name of the person', async () => {
    await open('/console/blocked')
    const item = page.getByRole('listitem').filter({ hasText: 'Restart the database of the shop at 03:00' })
    await item.getByRole('button', { name: 'Approve…' }).focus()

    await page.keyboard.press('Enter')
    const dialog = page.getByRole('dialog', { name: 'Approve' })
    await dialog.waitFor()
    await page.waitForFunction(`document.activeElement?.tagName === 'TEXTAREA'`)
    await page.keyboard.type('the shop is closed then')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')

    await page.getByRole('status').getByText('Approved: Restart the database').waitFor()
    await item.waitFor({ state: 'detached' })
    const { approvals } = await c.t.ledger.console.job(c.waits.approvalJob as JobId)
    expect(approvals[0]).toMatchObject({ status: 'approved', note: 'the shop is closed then' })
    expect(approvals[0]?.decided_by).toContain('anna')
    expect(watched.errors).toEqual([])
  })

  test('an approval is denied with a note', async () => {
    await open('/console/blocked')
    const item = page.getByRole('listitem').filter({ hasText: 'Pay 12,400 EUR' })

    await item.getByRole('button', { name: 'Deny…' }).click()
    await giveReason(page, 'Deny', 'nobody knows them', 'Deny')

    await page.getByRole('status').getByText('Denied: Pay 12,400 EUR').waitFor()
  })

  test('blocked work is answered, and its next attempt is told', async () => {
    await open('/console/blocked')
    const item = page.getByRole('listitem').filter({ hasText: 'Move the cache to the new host' })

    await item.getByRole('button', { name: 'Unblock…' }).click()
    await page
      .getByRole('dialog')
      .getByLabel(/^Answer for the agent/)
      .fill('it is cache-7')
    await giveReason(page, 'Answer and unblock', 'found it in the list', 'Unblock')

    await page.getByRole('status').getByText('is answered and queued again').waitFor()
    expect(await c.t.ledger.getJob(c.waits.blockedJob as JobId)).toMatchObject({
      status: 'queued',
      answer: { by: 'board:anna', reason: 'found it in the list', answer: { text: 'it is cache-7' } },
    })
  })

  test('a reason is asked for, a refusal is told in words, and nothing is changed by it', async () => {
    const { id } = await aJob(c.t.ledger, 'queued', { subject: 'to be cancelled twice' })
    await open(`/console/jobs/${id}`)
    await page.getByRole('button', { name: 'Cancel…' }).click()
    const dialog = page.getByRole('dialog', { name: 'Cancel this job' })
    // The page keeps an open form as it is, though the job has moved on.
    await c.t.ledger.jobs.cancel(OPERATOR, id, 'somebody was faster')
    const version = (await c.t.ledger.getJob(id)).version

    await dialog.getByRole('button', { name: 'Cancel the job' }).click()
    expect(await dialog.locator('textarea:invalid').count()).toBe(1)
    await dialog.getByRole('textbox').fill('too late')
    await dialog.getByRole('button', { name: 'Cancel the job' }).click()

    await dialog.getByRole('alert').getByText('AGENTBUS_ILLEGAL_TRANSITION').waitFor()
    expect((await c.t.ledger.getJob(id)).version).toBe(version)
    const { observations } = await c.t.ledger.jobHistory(id)
    expect(observations.at(-1)).toMatchObject({ kind: 'refusal', actor_kind: 'board', actor: 'anna' })
  })

  test('a dead letter is retried and buried from its page, and due work runs now', async () => {
    const dead = await aJob(c.t.ledger, 'dead', { subject: 'died once', max_attempts: 1 })
    await open(`/console/jobs/${dead.id}`)
    await page.getByRole('button', { name: 'Retry…' }).click()
    await giveReason(page, 'Queue this job again', 'the network is back', 'Retry')
    await page.locator('#job-state').getByText('queued').waitFor()
    await page.getByRole('button', { name: 'Bury…' }).click()
    await giveReason(page, 'Bury this job', 'it is of no use', 'Bury')
    await page.locator('#job-state').getByText('buried').waitFor()
    const later = await aJob(c.t.ledger, 'queued', { run_after: '2099-01-01T00:00:00Z' })
    await open(`/console/jobs/${later.id}`)
    await page.getByRole('button', { name: 'Run now…' }).click()
    await giveReason(page, 'Make it due now', 'it is needed today', 'Run now')
    await page.getByRole('status').getByText('is due now').waitFor()

    expect(Date.parse((await c.t.ledger.getJob(later.id)).run_after)).toBeLessThanOrEqual(Date.now())
    expect((await c.t.ledger.jobHistory(dead.id)).transitions.filter((row) => row.actor_kind === 'board').map((row) => `${row.reason} by ${row.actor}: ${row.note ?? ''}`)).toEqual(
      ['operator_retry by anna: the network is back', 'operator_dead by anna: it is of no use', 'buried by anna: it is of no use'],
    )
  })

  test('a job that runs is forced from its page: queued again, and then dead', async () => {
    const { id } = await aJob(c.t.ledger, 'running', { subject: 'hangs' })
    await open(`/console/jobs/${id}`)

    await page.getByRole('button', { name: 'Force retry…' }).click()
    await giveReason(page, 'Force a retry', 'it hangs', 'Force retry')
    await page.locator('#job-state').getByText('queued').waitFor()
    await page.getByRole('button', { name: 'Force dead…' }).click()
    await giveReason(page, 'Force this job dead', 'it hangs again', 'Force dead')
    await page.locator('#job-state').getByText('dead').waitFor()

    const { transitions } = await c.t.ledger.jobHistory(id)
    expect(transitions.filter((row) => row.actor_kind === 'board').map((row) => `${row.reason} by ${row.actor}: ${row.note ?? ''}`)).toEqual([
      'operator_retry by anna: it hangs',
      'operator_dead by anna: it hangs again',
    ])
    expect(watched.errors).toEqual([])
  })

  test('dead letters of one cause are retried together, chosen ones are buried, and the same form twice counts once', async () => {
    await open('/console/dead-letters')
    const before = (await c.t.ledger.console.deadLetters({})).causes
    // By its cause: with fewer letters it may stand further down.
    const first = page.locator(`details.cause:has(input[name=cause][value="${before[0]?.key ?? ''}"])`)
    await first.getByRole('checkbox').nth(0).check()
    await first.getByRole('checkbox').nth(1).check()
    await first.getByLabel('Reason').fill('known and over')
    await first.getByRole('button', { name: 'Bury chosen' }).click()
    await page.getByRole('status').getByText('2 jobs are buried.').waitFor()

    await first.getByRole('checkbox', { name: /^all \d+ of this cause/ }).check()
    await first.getByLabel('Reason').fill('the gateway is back')
    await first.getByRole('button', { name: 'Retry chosen' }).click()
    await page
      .getByRole('status')
      .getByText(/\d+ jobs are queued again\./)
      .waitFor()

    const after = (await c.t.ledger.console.deadLetters({})).causes
    expect(after.map((one) => one.cause)).not.toContain(before[0]?.cause)
    const dead = await aJob(c.t.ledger, 'dead', { max_attempts: 1 })
    const form = new URLSearchParams({ id: dead.id, reason: 'sent twice', key: crypto.randomUUID() })
    const send = (): Promise<Response> =>
      fetch(`${c.url}/console/actions/retry`, { method: 'POST', body: form, headers: { authorization: `Bearer ${c.token}`, accept: 'application/json' } })
    expect([(await send()).status, (await send()).status]).toEqual([200, 200])
    expect((await c.t.ledger.jobHistory(dead.id)).transitions.filter((row) => row.reason === 'operator_retry')).toHaveLength(1)
  })

  test.each([
    ['pause everything', ''],
    ['pause lane', 'coding'],
    ['pause agent', 'devops'],
    ['pause gateway', 'gw-lab'],
    ['pause order', 'devops/look-around'],
    ['drain agent', 'coder'],
    ['freeze promotions', ''],
    ['freeze conversions', ''],
  ])('%s %s is put in force and ended, each with a reason and the name of the person', async (what, target) => {
    await open('/console/controls')
    const form = page.getByRole('form', { name: 'Stop work' })
    await form.locator('select[name=what]').selectOption(what)
    await form.getByLabel(/^Which lane/).fill(target)
    await form.locator('select[name=for_seconds]').selectOption('3600')
    await form.getByLabel('Reason').fill('the move')
    await form.getByRole('button', { name: 'Stop', exact: true }).click()
    const [kind, scope] = what.split(' ')
    const name = [scope, target].join(' ').trim()
    await page
      .getByRole('status')
      .getByText(`${name}: ${kind ?? ''} is in force`)
      .waitFor()
    const [control] = (await c.t.ledger.listControls()).filter((one) => one.scope === scope && (one.target ?? '') === target)

    const item = page.locator(`#control-${control?.id ?? 0}`)
    await item.getByRole('button').first().click()
    await giveReason(page, `${kind === 'freeze' ? 'Unfreeze' : 'Resume'} ${name}`, 'moved', kind === 'freeze' ? 'Unfreeze' : 'Resume')
    await page.getByRole('status').getByText(`${name} goes on.`).waitFor()

    expect(control).toMatchObject({ action: kind, by_kind: 'board', by: 'anna', reason: 'the move' })
    expect(control?.until).not.toBeNull()
    const { items } = await c.t.ledger.listControlChanges({ limit: 2 })
    expect(items.map((one) => `${one.change} by ${one.actor}: ${one.reason}`)).toEqual(['resumed by anna: moved', 'set by anna: the move'])
    expect(watched.errors).toEqual([])
  })

  test('one form stops two things, one after the other, without the page being loaded again', async () => {
    await open('/console/controls')
    const form = page.getByRole('form', { name: 'Stop work' })

    for (const lane of ['coding', 'memory']) {
      await form.locator('select[name=what]').selectOption('pause lane')
      await form.getByLabel(/^Which lane/).fill(lane)
      await form.getByLabel('Reason').fill('the move')
      await form.getByRole('button', { name: 'Stop', exact: true }).click()
      await page.getByRole('status').getByText(`lane ${lane}: pause is in force`).waitFor()
    }

    const inForce = (await c.t.ledger.listControls()).filter((one) => one.reason === 'the move').map((one) => one.target)
    for (const target of inForce) await c.t.ledger.controls.resume(OPERATOR, ResumeBody.parse({ scope: 'lane', target, reason: 'moved' }))
    expect(inForce.toSorted()).toEqual(['coding', 'memory'])
  })

  test('a flow is cancelled by its key, and one job by its id', async () => {
    const jobs = await Promise.all([1, 2, 3].map((n) => aJob(c.t.ledger, 'queued', { subject: `part ${n}`, correlation_key: 'flow-to-end' })))
    const alone = await aJob(c.t.ledger, 'queued', { subject: 'alone' })
    await open('/console/controls')

    const flow = page.getByRole('form', { name: 'Cancel a flow' })
    await flow.getByLabel('Key or id').fill('flow-to-end')
    await flow.getByLabel('Reason').fill('called off')
    await flow.getByRole('button', { name: 'Cancel the flow' }).click()
    await page.getByRole('status').getByText('3 jobs are cancelled.').waitFor()
    const one = page.getByRole('form', { name: 'One job' })
    await one.getByLabel('Id of the job').fill(alone.id)
    await one.getByLabel('Reason').fill('called off, too')
    await one.getByRole('button', { name: 'Force dead' }).click()
    await page.getByRole('status').getByText('is a dead letter').waitFor()

    expect(await Promise.all(jobs.map(async ({ id }) => (await c.t.ledger.getJob(id)).status))).toEqual(['cancelled', 'cancelled', 'cancelled'])
    expect((await c.t.ledger.getJob(alone.id)).status).toBe('dead')
  })
})

describe.skipIf(isSkipped)('a live page', () => {
  test('shows a new job and its fate without being loaded again, and keeps what somebody is filling in', async () => {
    await open('/console/jobs')
    await page.evaluate('window.same = true')

    const { id } = await aJob(c.t.ledger, 'queued', { subject: 'seen at once' })
    const row = page.getByRole('row').filter({ hasText: 'seen at once' })
    await row.getByText('queued').waitFor()
    await c.t.ledger.jobs.cancel(OPERATOR, id, 'enough')
    await row.getByText('cancelled').waitFor()

    expect(await page.evaluate('window.same')).toBe(true)
    await open(`/console/jobs/${(await aJob(c.t.ledger, 'queued', { subject: 'being edited' })).id}`)
    await page.getByRole('button', { name: 'Cancel…' }).click()
    await page.getByRole('dialog').getByRole('textbox').fill('half a rea')
    await aJob(c.t.ledger, 'queued')
    await page.getByText('live').first().waitFor()
    await page.waitForResponse((answer) => answer.url() === page.url() && answer.request().resourceType() === 'fetch')
    expect(await page.getByRole('dialog').getByRole('textbox').inputValue()).toBe('half a rea')
  })

  test('leaves the focus in its row when another one comes above it', async () => {
    const { id } = await aJob(c.t.ledger, 'queued', { subject: 'has the focus' })
    await open('/console/jobs')
    await page.getByRole('row').filter({ hasText: 'has the focus' }).getByRole('link', { name: 'devops', exact: true }).focus()

    await aJob(c.t.ledger, 'queued', { subject: 'comes above it' })
    await page.getByRole('row').filter({ hasText: 'comes above it' }).waitFor()

    const focused = `[document.activeElement?.textContent, document.activeElement?.closest('tr')?.querySelector('a')?.getAttribute('href')]`
    expect(await page.evaluate(focused)).toEqual(['devops', `/console/jobs/${id}`])
  })

  test('keeps a reason that was written, though the focus has gone on', async () => {
    await aJob(c.t.ledger, 'dead', { subject: 'one to write about', max_attempts: 1 })
    await open('/console/dead-letters')
    const first = page.locator('details.cause').first()
    await first.getByLabel('Reason').fill('half a rea')
    await first.locator('summary').focus()

    await aJob(c.t.ledger, 'dead', { subject: 'one more', max_attempts: 1 })
    await page.locator('#live[data-held="yes"]').waitFor()

    expect(await first.getByLabel('Reason').inputValue()).toBe('half a rea')
    expect(await page.evaluate(`document.activeElement?.tagName`)).toBe('SUMMARY')
  })

  test('keeps what was written in a form that was closed again, with what is new around it', async () => {
    const { id } = await aJob(c.t.ledger, 'queued', { subject: 'written about' })
    await open(`/console/jobs/${id}`)
    await page.getByRole('button', { name: 'Cancel…' }).click()
    const dialog = page.getByRole('dialog', { name: 'Cancel this job' })
    await dialog.getByRole('textbox').fill('half a rea')
    const key = page.locator('#cancel input[name=key]')
    const before = await key.inputValue()
    await dialog.getByRole('button', { name: 'Not now' }).click()

    await c.t.ledger.db.execute(sql`update jobs set correlation_key = 'case-written' where id = ${id}::uuid`)
    await aJob(c.t.ledger, 'queued')
    await page.locator('#job-facts').getByText('case-written').waitFor()

    await page.getByRole('button', { name: 'Cancel…' }).click()
    expect(await dialog.getByRole('textbox').inputValue()).toBe('half a rea')
    expect(await key.inputValue()).toBe(before)
  })

  test('is read anew at once after an action, though it was being read at that moment', async () => {
    await aJob(c.t.ledger, 'dead', { subject: 'buried while the page is read', max_attempts: 1 })
    await open('/console/dead-letters')
    let reads = 0
    let goOn: () => void = () => undefined
    const mayGoOn = new Promise<void>((resolve) => (goOn = resolve))
    await page.route(`${c.url}/console/dead-letters`, async (route) => {
      reads += 1
      if (reads === 1) await mayGoOn
      await route.continue()
    })
    await aJob(c.t.ledger, 'queued')
    await expect.poll(() => reads, { timeout: 15_000 }).toBe(1)

    const first = page.locator('details.cause').first()
    await first.getByRole('checkbox').nth(0).check()
    await first.getByLabel('Reason').fill('known')
    await first.getByRole('button', { name: 'Bury chosen' }).click()
    await page.getByRole('status').getByText('1 job is buried.').waitFor()
    goOn()

    // By itself it reads every five seconds at most.
    await expect.poll(() => reads, { timeout: 3_000 }).toBe(2)
  })

  test('the tail shows events as they come, of the topic asked for, and each once', async () => {
    await open('/console/events?topic=tail.*')
    const emit = (topic: string): Promise<unknown> => c.t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic, payload: { for: topic } }))

    await emit('tail.one')
    await emit('other.two')
    await emit('tail.three')
    await page.locator('#tail').getByText('tail.three', { exact: true }).waitFor()

    expect(await page.locator('#tail tbody strong').allTextContents()).toEqual(['tail.three', 'tail.one'])
  })

  test('says so when it is cut off, and goes on where it was', async () => {
    await open('/console/events?topic=cut.*')
    await c.cut()
    await page.locator('#live').getByText('not live').waitFor()
    await c.t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'cut.missed', payload: {} }))

    await page.locator('#live').getByText('live', { exact: true }).waitFor()
    await page.locator('#tail').getByText('cut.missed', { exact: true }).waitFor()
  })

  test('the theme is switched by hand and stays', async () => {
    // Of somebody else: what stays would stay for all other pages.
    const { page, context } = await watchedPage(browser, c.token)
    await page.goto(c.url)
    await page.locator('#live.on').waitFor()
    const back = (): Promise<unknown> => page.evaluate('getComputedStyle(document.body).backgroundColor')
    await page.emulateMedia({ colorScheme: 'light' })
    const light = await back()

    await page.getByRole('button', { name: 'Theme: auto' }).click()
    await page.getByRole('button', { name: 'Theme: light' }).click()
    const dark = await back()
    await page.reload()

    expect(dark).not.toBe(light)
    expect(await back()).toBe(dark)
    await context.close()
  })
})

describe.skipIf(isSkipped)('over a whole bus', () => {
  let t: TestBus
  let context: BrowserContext
  beforeAll(async () => {
    t = await startTestBus({ api: true, agents: { devops: { concurrency: 4 }, planner: {} } })
    const { token } = await t.ledger.tokens.create(OPERATOR, { name: 'anna', role: 'operator' })
    context = (await watchedPage(browser, token)).context
  }, 600_000)
  afterAll(async () => {
    await context.close()
  })

  test('a retry at the console leads to a run, its end is seen without a reload, and no page holds up the end of the bus', async () => {
    t.behave(async (hands) => {
      await hands.fail({ last_error: 'no good' })
    })
    const job = await t.enqueue({ subject: 'tried again' })
    await t.until(job.id, (one) => one.status === 'failed')
    t.behave(async (hands) => {
      await hands.complete()
    })
    const live = await context.newPage()
    await live.goto(`${t.bus.url ?? ''}/console/jobs/${job.id}`)

    await live.getByRole('button', { name: 'Retry…' }).click()
    await giveReason(live, 'Queue this job again', 'put right', 'Retry')
    await live.locator('#job-state').getByText('succeeded').waitFor()

    const startedMs = performance.now()
    await t.stop()
    expect(performance.now() - startedMs).toBeLessThan(15_000)
    await live.locator('#live').getByText('not live').waitFor()
  })
})
