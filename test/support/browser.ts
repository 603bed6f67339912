import { accessSync, constants, statSync } from 'node:fs'
import path from 'node:path'
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core'
import { findOrInstall } from './debian-package.js'

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome']

function findChromium(): string | undefined {
  const given = process.env['CHROMIUM_PATH']
  if (given !== undefined && given !== '') return given
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder))
  return PROGRAMS.flatMap((program) => folders.map((folder) => path.join(folder, program))).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

/** Whether there is a browser, or one may be installed. Where neither holds, the browser tests are skipped and say so. */
export function mayHaveBrowser(): boolean {
  const may = findChromium() !== undefined || process.getuid?.() === 0
  if (!may) console.log('The browser tests are skipped: no Chromium on PATH or in CHROMIUM_PATH, and only root may install it.')
  return may
}

/** A real browser that can reach this machine only: a request for another host fails, and is seen by {@link watchedPage}. */
export async function startBrowser(): Promise<Browser> {
  const executablePath = findOrInstall({
    find: findChromium,
    debianPackage: 'chromium',
    advice: 'The browser tests need Chromium: set CHROMIUM_PATH, or install it (Debian: apt-get install chromium).',
  })
  return chromium.launch({
    executablePath,
    args: [
      // A container has no user namespaces to build the sandbox from; only our own page is opened.
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  })
}

export interface WatchedPage {
  readonly page: Page
  readonly context: BrowserContext
  /** Errors of scripts and of the console, among them what the Content-Security-Policy stopped. */
  readonly errors: readonly string[]
  /** The origins that were asked for anything. */
  readonly origins: ReadonlySet<string>
}

/** A person who has signed in with HTTP Basic. */
export function signIn(browser: Browser, password: string): Promise<BrowserContext> {
  return browser.newContext({ httpCredentials: { username: 'anna', password }, viewport: { width: 1_400, height: 900 } })
}

/** A further page of that person, and what is seen of it alone. */
export async function openWatched(context: BrowserContext): Promise<WatchedPage> {
  const page = await context.newPage()
  const errors: string[] = []
  const origins = new Set<string>()
  page.on('request', (request) => origins.add(new URL(request.url()).origin))
  page.on('pageerror', (error) => errors.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${message.text()} at ${message.location().url}`)
  })
  return { page, context, errors, origins }
}

/** The first page of a person who has signed in. */
export async function watchedPage(browser: Browser, password: string): Promise<WatchedPage> {
  return openWatched(await signIn(browser, password))
}
