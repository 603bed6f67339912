import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { chromium, type Browser } from 'playwright-core'
import { Registry } from 'prom-client'
import { createApp } from '../api/app.js'
import { listen } from '../api/server.js'
import { startStores } from '../bench/stores.js'
import { mountConsole } from '../board/console/mount-console.js'
import { createLogger } from '../config/logger.js'
import { openDatabase } from '../ledger/database.js'
import { Ledger } from '../ledger/ledger.js'
import { busyWeek, whatWaits } from '../test/support/busy-week.js'
import { OPERATOR, renderForTests } from '../test/support/ledger.js'

/** Writes a picture of every page of the console, over a seeded ledger, in both themes: `npm run screenshots`. With `--serve` it only serves that console. */
const FOLDER = path.join(import.meta.dirname, '..', 'docs', 'screenshots')
const DESKTOP = { width: 1_280, height: 860 }
const PHONE = { width: 390, height: 844 }

const stores = await startStores('postgres')
const [where] = stores.places
if (where === undefined) throw new Error('no store was started')
const database = openDatabase({ url: where.databaseUrl, poolSize: 10, applicationName: 'screenshots', onError: (error) => console.error(error.message) })
const ledger = new Ledger({ database, secret: 'screenshots-screenshots-screenshots', retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render: renderForTests })
await busyWeek(database.pool, Date.now())
const waits = await whatWaits(ledger)
const { token } = await ledger.tokens.create(OPERATOR, { name: 'anna', role: 'operator' })
const log = createLogger({ level: 'error' })
const consoles: ReturnType<typeof mountConsole>[] = []
const app = createApp({
  ledger,
  log,
  registry: new Registry(),
  readiness: async () => [],
  mount: (express, requireOperator) => void consoles.push(mountConsole({ app: express, requireOperator, ledger, log })),
})
const server = await listen(app, { host: '127.0.0.1', port: 0 })

async function pages(): Promise<[string, string][]> {
  const [dead] = (await ledger.console.jobs({ status: 'dead', limit: 1 })).items
  const slots = await ledger.listSlots({ status: 'completed', limit: 1 })
  return [
    ['fleet', '/'],
    ['accountability', '/console/accountability'],
    ['slot', `/console/slots/${slots.items[0]?.id ?? ''}`],
    ['jobs', '/console/jobs'],
    ['job', `/console/jobs/${dead?.id ?? ''}`],
    ['job-blocked', `/console/jobs/${waits.approvalJob}`],
    ['flow', '/console/flow'],
    ['blocked', '/console/blocked'],
    ['dead-letters', '/console/dead-letters'],
    ['health', '/console/health?window=24h'],
    ['events', '/console/events'],
    ['controls', '/console/controls'],
  ]
}

async function take(browser: Browser, theme: 'light' | 'dark', viewport: typeof DESKTOP, wanted: readonly [string, string][], suffix: string): Promise<void> {
  const context = await browser.newContext({ httpCredentials: { username: 'anna', password: token }, viewport, colorScheme: theme, reducedMotion: 'reduce' })
  const page = await context.newPage()
  for (const [name, address] of wanted) {
    await page.goto(server.url + address)
    await page.locator('#live.on').waitFor()
    await page.screenshot({ path: path.join(FOLDER, `${name}-${theme}${suffix}.png`) })
  }
  await context.close()
}

if (process.argv.includes('--serve')) {
  console.log(`${server.url} anna ${token}`)
  await new Promise<void>((resolve) => process.once('SIGINT', () => resolve()))
} else {
  await rm(FOLDER, { recursive: true, force: true })
  await mkdir(FOLDER, { recursive: true })
  const browser = await chromium.launch({ executablePath: process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
  const all = await pages()
  const onPhone = all.filter(([name]) => ['fleet', 'job', 'blocked', 'accountability'].includes(name))
  for (const theme of ['light', 'dark'] as const) await take(browser, theme, DESKTOP, all, '')
  await take(browser, 'light', PHONE, onPhone.slice(0, 2), '-phone')
  await take(browser, 'dark', PHONE, onPhone.slice(2), '-phone')
  await browser.close()
}
for (const one of consoles) await one.stop()
await server.close()
await ledger.accesses.stop()
await database.close()
await stores.stop()
