import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect } from 'vitest'
import { checkBackup } from '../../ledger/backup/check-backup.js'
import { aJob, freshLedger, TEST_SECRET } from '../support/ledger.js'
import { tamper } from '../support/verify.js'
import { test } from './fixtures.js'
import { TOKEN } from './stand-in.js'

const BIN = path.resolve('bin/agentbus.mjs')

/** The modules that a file loads before it runs, over all static imports of the project's own files. */
async function loadedWith(file: string, seen = new Set<string>()): Promise<Set<string>> {
  if (seen.has(file)) return seen
  seen.add(file)
  const source = await readFile(file, 'utf8')
  for (const [, clause = '', from = ''] of source.matchAll(/^(?:import|export)\s+(?!type\b)([^'"]*?)from\s+'([^']+)'/gm)) {
    if (/^\{\s*(type [^,}]+,?\s*)+\}\s*$/.test(clause)) continue
    if (from.startsWith('.')) await loadedWith(path.resolve(path.dirname(file), from.replace(/\.js$/, '.ts')), seen)
    else seen.add(from)
  }
  return seen
}

/** Runs a server command on the ledger at `url`; nobody reads what it says on standard output. */
async function unread(argv: readonly string[], url: string, folder: string): Promise<{ code: number | null; stderr: string }> {
  const env = { PATH: process.env['PATH'], DATABASE_URL: url, AGENTBUS_SECRET: TEST_SECRET, AGENTBUS_QUEUE_BACKEND: 'postgres', AGENTBUS_DATA_DIR: folder }
  const child = spawn(process.execPath, [BIN, ...argv], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  child.stdout.destroy()
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stderr }
}

describe('the executable', () => {
  test('an agent command loads commander and Node, nothing heavier', async () => {
    const roots = await Promise.all(['cli/main.ts', 'cli/client/register.ts'].map((file) => loadedWith(path.resolve(file))))

    const packages = new Set(roots.flatMap((root) => [...root].filter((name) => !path.isAbsolute(name) && !name.startsWith('node:'))))
    expect([...packages]).toEqual(['commander'])
    expect(roots.flatMap((root) => [...root]).length).toBeGreaterThan(20)
  })

  test('that check sees what the server commands load', async () => {
    const loaded = await loadedWith(path.resolve('cli/server-commands.ts'))

    for (const heavy of ['pg', 'bullmq', 'zod', 'drizzle-orm']) expect(loaded).toContain(heavy)
  })

  test('a reader that stops early is no error', async ({ api }) => {
    api.always({ status: 200, body: { items: Array.from({ length: 20_000 }, (_, n) => ({ id: `job-${n}`, subject: 'x'.repeat(60) })), next_cursor: null } })
    const child = spawn(process.execPath, [BIN, 'jobs', '--url', api.url, '--token', TOKEN], { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))

    child.stdout.once('data', () => child.stdout.destroy())
    const [code] = (await once(child, 'close')) as [number | null]

    expect({ code, said }).toEqual({ code: 0, said: '' })
  })

  test('a reader that stops early changes nothing of what a check has found', async ({ folder }) => {
    const t = await freshLedger()
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [id]])

    const ran = await unread(['verify', '--no-queues'], t.url, folder)
    await t.close()

    expect(ran).toEqual({ code: 8, stderr: 'agentbus: The ledger does not hold: chains.\n' })
  })

  test('a reader that stops early breaks no backup off', async ({ folder }) => {
    const t = await freshLedger()
    await aJob(t.ledger, 'succeeded')
    const out = path.join(folder, 'monday')

    const ran = await unread(['backup', '--out', out], t.url, folder)
    await t.close()

    expect(ran).toEqual({ code: 0, stderr: '' })
    expect((await checkBackup(out)).tables.find(({ name }) => name === 'jobs')?.rows).toBe(1)
  })

  test('output that cannot be written for another reason is a failure, and is said', async ({ api, skip }) => {
    skip(!existsSync('/dev/full'), 'this system has no /dev/full')
    api.always({ status: 200, body: { items: [{ id: 'job-1', subject: 'x' }], next_cursor: null } })
    const full = await open('/dev/full', 'w')
    const child = spawn(process.execPath, [BIN, 'jobs', '--url', api.url, '--token', TOKEN], { stdio: ['ignore', full.fd, 'pipe'] })
    let said = ''
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))

    const [code] = (await once(child, 'close')) as [number | null]
    await full.close()

    expect(code).toBe(1)
    expect(said).toMatch(/^agentbus: .*ENOSPC/)
  })

  test('the exit code reaches the shell', async ({ api }) => {
    api.always({ status: 409, body: { code: 'AGENTBUS_STALE_ATTEMPT', detail: 'Gone.', next: 'Stop.' } })

    const failed = await promisify(execFile)(process.execPath, [BIN, 'complete-job', 'x', '--url', api.url, '--token', TOKEN]).catch((error: unknown) => error)

    expect(failed).toMatchObject({ code: 5, stdout: '', stderr: 'agentbus: Gone. Stop.\n' })
  })

  test('without a build it says what to run', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bin-'))
    await cp(BIN, path.join(folder, 'bin', 'agentbus.mjs'))

    const failed = await promisify(execFile)(process.execPath, [path.join(folder, 'bin', 'agentbus.mjs'), 'jobs']).catch((error: unknown) => error)

    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining('npm run build') })
    await rm(folder, { recursive: true })
  })
})
