import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import type { WatchedPage } from './browser.js'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const DESK = { width: 1_400, height: 900 }
const PHONE = { width: 360, height: 740 }

/** All that is looked at on every page of the console. Seen in one visit: most of a visit is the way there. */
export interface Visit {
  readonly path: string
  readonly heading: string | null
  readonly headers: Readonly<Record<string, string>>
  /** How many parts of the page have code or looks in them that no policy lets through. */
  readonly inline: number
  /** From the way there until it says that it is live. */
  readonly errors: readonly string[]
  /** How wide it is on a phone, in points. */
  readonly phoneWidth: number
  /** Words that stand there in a column of letters. */
  readonly squeezed: readonly string[]
  /** What axe finds that hinders people, in a line each: of everything, and in the dark of what a theme changes. */
  readonly hindrances: Readonly<Record<'light' | 'dark', readonly string[]>>
}

/** Opens a page of the console and waits until it says that it is live. Axe is last: what it does to a page is not the page's. */
export async function visitPage({ page, errors }: WatchedPage, origin: string, path: string): Promise<Visit> {
  await page.setViewportSize(DESK)
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' })
  const before = errors.length
  const answer = await page.goto(origin + path)
  const inline = await page.locator('[style], style, script:not([src]), [onclick]').count()
  await page.locator('#live.on').waitFor()
  const heading = await page.getByRole('heading', { level: 1 }).textContent()
  const ownErrors = errors.slice(before)

  await page.setViewportSize(PHONE)
  const phoneWidth = Number(await page.evaluate('document.documentElement.scrollWidth'))
  const cells = "[...document.querySelectorAll('th, td')].filter((cell) => cell.offsetHeight > 3 * cell.offsetWidth && cell.innerText.trim().length > 6)"
  const squeezed = await page.evaluate<string[]>(`${cells}.map((cell) => cell.innerText)`)

  await page.setViewportSize(DESK)
  await page.evaluate(AXE)
  const light = await hindrancesOf(page, '')
  await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' })
  const dark = await hindrancesOf(page, ", runOnly: ['color-contrast', 'link-in-text-block']")
  return { path, heading, headers: answer?.headers() ?? {}, inline, errors: ownErrors, phoneWidth, squeezed, hindrances: { light, dark } }
}

async function hindrancesOf(page: Page, only: string): Promise<string[]> {
  const found = await page.evaluate<{ violations: { id: string; impact: string; nodes: { target: string[]; failureSummary: string }[] }[] }>(
    `axe.run(document, { resultTypes: ['violations']${only} })`,
  )
  return found.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.slice(0, 3).map((node) => `${id} ${node.target.join(' ')} ${node.failureSummary.slice(0, 200)}`))
}
