import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'vitest'
import { CreateJobBody } from '../../contracts/jobs.js'
import { openDatabase } from '../../ledger/database.js'
import { Ledger } from '../../ledger/ledger.js'
import { OPERATOR, renderForTests, TEST_SECRET } from '../support/ledger.js'

const MAIN = path.resolve('dist/cli/main.js')

interface Demo {
  readonly child: ChildProcess
  readonly output: () => string
  /** Resolves when the demo has said `text`. */
  says(text: string): Promise<void>
  readonly ended: Promise<number | null>
}

/** A real `agentbus demo` whose temporary folder lies in `folder`. */
function demo(folder: string, args: readonly string[] = []): Demo {
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], { env: { PATH: process.env['PATH'] ?? '', HOME: folder, TMPDIR: folder }, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const says = async (text: string): Promise<void> => {
    while (!said.includes(text)) {
      if (child.exitCode !== null) throw new Error(`the demo ended before it said "${text}": ${said}`)
      await Promise.race([once(child.stdout, 'data'), ended])
    }
  }
  return { child, output: () => said, says, ended }
}

const story = test.extend<{ folder: string }>({
  folder: async ({}, use) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-demo-test-'))
    await chmod(folder, 0o755)
    await use(folder)
    await rm(folder, { recursive: true, force: true })
  },
})

/** Leaves a job open in the demo's own ledger, where the story does not expect one. */
async function leaveAJobOpen(folder: string): Promise<void> {
  const [inside] = await readdir(folder)
  const runtime = JSON.parse(await readFile(path.join(folder, inside ?? '', 'data/runtime.json'), 'utf8')) as { databaseUrl: string }
  const database = openDatabase({ url: runtime.databaseUrl, poolSize: 2, applicationName: 'stranger', onError: () => undefined })
  const ledger = new Ledger({ database, secret: TEST_SECRET, retryBaseSeconds: 1, nowMs: () => Date.now(), random: () => 0.5, render: renderForTests })
  await ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'not of the story', run_after: new Date(Date.now() + 3_600_000).toISOString() }))
  await database.close()
}

describe.concurrent('agentbus demo', () => {
  story('tells seven chapters, checks them against the ledger, exits 0 and leaves nothing', { timeout: 150_000 }, async ({ folder, expect }) => {
    const played = demo(folder, ['--fast'])

    const code = await played.ended

    expect(played.output()).not.toContain('✗')
    expect(code).toBe(0)
    expect(played.output().match(/^\d\. /gm)).toHaveLength(7)
    expect(played.output().match(/^ {2}✓ +\d+ {2}/gm)).toHaveLength(11)
    expect(played.output()).toContain('All 11 hold')
    expect(await readdir(folder)).toEqual([])
  })

  story('exits with a failure, and names what was wanted and found, when one expectation does not hold', { timeout: 150_000 }, async ({ folder, expect }) => {
    const played = demo(folder, ['--fast'])
    await played.says('2. ')
    await leaveAJobOpen(folder)

    const code = await played.ended

    expect(code).toBe(1)
    expect(played.output()).toContain('wanted: 0 jobs, 0 outbox rows')
    expect(played.output()).toContain('found:  1 jobs, 0 outbox rows')
    expect(played.output()).toContain('1 of 11 do not hold')
    expect(await readdir(folder)).toEqual([])
  })

  story('stops at Ctrl-C while it waits for its reader, and leaves nothing', { timeout: 90_000 }, async ({ folder, expect }) => {
    const played = demo(folder)
    await played.says('1. ')

    played.child.kill('SIGINT')
    const code = await played.ended

    expect(code).toBe(1)
    expect(played.output()).toContain('The demo was stopped')
    expect(played.output()).not.toContain('2. ')
    expect(await readdir(folder)).toEqual([])
  })
})
