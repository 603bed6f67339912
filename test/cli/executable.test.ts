import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect } from 'vitest'
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
