import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runCli } from '../../cli/run.js'
import { createPostgresBackend } from '../../queues/postgres-backend.js'
import { STATE_VERSION } from '../../ledger/verify/verify-state.js'
import { entryId } from '../../queues/catalogue.js'
import { aJob, freshLedger, TEST_SECRET, type TestLedger } from '../support/ledger.js'
import { tamper } from '../support/verify.js'

let t: TestLedger
let folder: string
beforeEach(async () => {
  t = await freshLedger()
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-verify-'))
})
afterEach(async () => {
  await t.close()
  await rm(folder, { recursive: true, force: true })
})

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a server command in process, on the ledger of the test. */
async function cli(argv: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const said = { stdout: '', stderr: '' }
  const code = await runCli(argv, {
    env: { DATABASE_URL: t.url, AGENTBUS_DATA_DIR: folder, AGENTBUS_SECRET: TEST_SECRET, AGENTBUS_QUEUE_BACKEND: 'postgres', AGENTBUS_LOG_LEVEL: 'silent', ...env },
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    cwd: folder,
  })
  return { code, ...said }
}

test('a ledger that holds exits 0, with a line per check', async () => {
  await aJob(t.ledger, 'succeeded')

  const ran = await cli(['verify'])

  expect(ran).toMatchObject({ code: 0, stderr: '' })
  expect(ran.stdout).toMatch(/^ok {11}chains +4 rows$/m)
  expect(ran.stdout).toMatch(/^ok {11}queues/m)
  expect(ran.stdout).not.toMatch(/VIOLATED|NOT CHECKED/)
})

test('a violation exits 8 and names the row and what to do', async () => {
  const { id } = await aJob(t.ledger, 'succeeded')
  await tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [id]])

  const ran = await cli(['verify', '--no-queues'])

  expect(ran.code).toBe(8)
  expect(ran.stderr).toBe('agentbus: The ledger does not hold: chains.\n')
  expect(ran.stdout).toMatch(/^VIOLATED {5}chains/m)
  expect(ran.stdout).toContain(`row_changed: Row 2 of job ${id}`)
  expect(ran.stdout).toMatch(/^ {4}do: {2}Compare this job/m)
})

test('--json gives the same report to programs', async () => {
  const { id } = await aJob(t.ledger, 'succeeded')
  await tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [id]])

  const ran = await cli(['verify', '--no-queues', '--json'])

  const report = JSON.parse(ran.stdout) as { verdict: string; checks: unknown[] }
  expect(report.verdict).toBe('violated')
  expect(report.checks).toContainEqual(expect.objectContaining({ check: 'chains', violations: [expect.objectContaining({ kind: 'row_changed', row: { job_id: id, seq: 2 } })] }))
})

describe('what cannot be checked', () => {
  test('is said, and exits 9: a queue store that does not answer', async () => {
    const ran = await cli(['verify'], { REDIS_URL: 'redis://127.0.0.1:9/0', AGENTBUS_QUEUE_BACKEND: 'auto' })

    expect(ran.code).toBe(9)
    expect(ran.stdout).toMatch(/^NOT CHECKED {2}queues/m)
  })

  test('is said, and exits 9: prompts without the secret that the ledger knows', async () => {
    await t.database.pool.query(`insert into ledger_meta (key, value) values ('secret_fingerprint', 'another')`)

    const ran = await cli(['verify', '--no-queues'])

    expect(ran.code).toBe(9)
    expect(ran.stdout).toMatch(/^NOT CHECKED {2}prompts .*AGENTBUS_SECRET/m)
  })

  test('is said, and exits 9: a ledger that cannot be reached', async () => {
    const ran = await cli(['verify'], { DATABASE_URL: 'postgres://nobody@127.0.0.1:9/nothing' })

    expect(ran.code).toBe(9)
    expect(ran.stderr).toContain('The ledger could not be checked')
  })

  test('was not asked for with --no-queues, and does not count', async () => {
    const ran = await cli(['verify', '--no-queues'], { REDIS_URL: 'redis://127.0.0.1:9/0', AGENTBUS_QUEUE_BACKEND: 'auto' })

    expect(ran.code).toBe(0)
    expect(ran.stdout).toMatch(/^not checked {2}queues +not asked for$/m)
  })
})

test('verify changes nothing: it makes no secret and migrates nothing', async () => {
  await t.database.pool.query('delete from drizzle.__drizzle_migrations where created_at = (select max(created_at) from drizzle.__drizzle_migrations)')

  const ran = await cli(['verify'])

  expect(ran).toMatchObject({ code: 9 })
  expect(ran.stderr).toContain('run agentbus migrate')
  await expect(stat(path.join(folder, 'secret'))).rejects.toThrow('ENOENT')
})

describe('--resume', () => {
  test('leaves no file behind when it came to its end', async () => {
    const file = path.join(folder, 'state.json')

    const ran = await cli(['verify', '--no-queues', '--resume', file])

    expect(ran.code).toBe(0)
    await expect(readFile(file)).rejects.toThrow('ENOENT')
  })

  /** A state of this ledger, at whose beginning chains were found to hold. */
  async function aState(more: Record<string, unknown> = {}): Promise<string> {
    const { rows } = await t.database.pool.query<{ name: string }>(`select datname || ':' || oid as name from pg_database where datname = current_database()`)
    const done = [{ check: 'chains', verdict: 'ok', examined: 123_456, violations: [] }]
    const file = path.join(folder, 'state.json')
    const state = { version: STATE_VERSION, ledger: rows[0]?.name, since: null, inputs: { anchors: [], keys: [], secret: true }, done, open: null, ...more }
    await writeFile(file, JSON.stringify(state))
    return file
  }

  test('takes results of an earlier run from the file, and refuses that of another ledger', async () => {
    const resumed = await cli(['verify', '--no-queues', '--resume', await aState()])
    const file = await aState({ ledger: 'another:1' })
    const refused = await cli(['verify', '--no-queues', '--resume', file])

    expect(resumed.stdout).toContain('123,456 rows')
    expect(refused).toMatchObject({ code: 2, stderr: `agentbus: ${file} cannot be resumed: it belongs to another ledger. Remove it to begin anew.\n` })
  })

  test.each([
    ['of another version', { version: STATE_VERSION - 1 }, 'another version of agentbus wrote it'],
    ['with a verdict that is none', { done: [{ check: 'chains', verdict: 'fine', examined: 1, violations: [] }] }, 'it is not what agentbus verify wrote (done.0.verdict:'],
    [
      'with a position that is none',
      { open: { check: 'chains', position: { job: 'x' }, examined: 1, violations: [] } },
      'it is not what agentbus verify wrote (open.position.job:',
    ],
    ['with a check that has no position', { open: { check: 'guards', position: null, examined: 1, violations: [] } }, 'it is not what agentbus verify wrote (open.check:'],
    ['begun with an anchor', { inputs: { anchors: ['1:ab'], keys: [], secret: true } }, 'it was begun with --anchor 1:ab; this run is not. Give it the same again'],
    ['begun with a key', { inputs: { anchors: [], keys: ['0123456789abcdef'], secret: true } }, 'it was begun with the public key 0123456789abcdef; this run is not'],
    ['begun without the secret', { inputs: { anchors: [], keys: [], secret: false } }, 'it was begun without the secret of this ledger (AGENTBUS_SECRET); this run is not'],
  ])('refuses a file %s, says what to do, and leaves it as it is', async (_what, more, why) => {
    const file = await aState(more)
    const before = await readFile(file, 'utf8')

    const refused = await cli(['verify', '--no-queues', '--resume', file])

    expect(refused).toMatchObject({ code: 2, stdout: '' })
    expect(refused.stderr).toContain(`${file} cannot be resumed: ${why}`)
    expect(refused.stderr).toContain('Remove it to begin anew.')
    expect(await readFile(file, 'utf8')).toBe(before)
  })

  test('refuses what is no state at all, and a file that is there and cannot be read', async () => {
    const file = path.join(folder, 'state.json')
    await writeFile(file, '"a note"')
    const text = await cli(['verify', '--no-queues', '--resume', file])
    const directory = await cli(['verify', '--no-queues', '--resume', folder])

    expect(text).toMatchObject({ code: 2, stderr: expect.stringContaining('it is no state of agentbus verify') as string })
    expect(directory).toMatchObject({ code: 2, stdout: '' })
    expect(directory.stderr).toContain(`${folder} cannot be read, so nothing was checked: EISDIR`)
  })

  test('goes on with the same anchors and keys as before', async () => {
    const anchor = `1:${'0'.repeat(64)}`
    const file = await aState({ inputs: { anchors: [anchor], keys: [], secret: true } })

    const resumed = await cli(['verify', '--no-queues', '--resume', file, '--anchor', anchor])

    expect(resumed.stdout).toContain('123,456 rows')
    expect(resumed.stdout).toContain('checkpoint_not_as_kept')
    expect(resumed.code).toBe(8)
  })
})

test('a job that the queue lacks, and an entry that belongs to nothing, are found', async () => {
  const { id } = await aJob(t.ledger, 'queued')
  await t.database.pool.query('delete from outbox')
  await tamper(t.url, [`update jobs set updated_at = now() - interval '1 hour' where id = $1`, [id]])
  const backend = createPostgresBackend({ url: t.url, poolSize: 3, durable: false, onError: () => undefined })
  const queue = backend.openQueue('agent-devops')
  const foreign = entryId('00000000-0000-7000-8000-000000000000', 1)
  await queue.add('x', {}, { jobId: foreign, delay: 60_000 })

  const ran = await cli(['verify', '--json'])

  const report = JSON.parse(ran.stdout) as { checks: { check: string; violations: { kind: string; row: object }[] }[] }
  expect(report.checks.find(({ check }) => check === 'queues')?.violations).toMatchObject([
    { kind: 'entry_missing', row: { job_id: id } },
    { kind: 'entry_foreign', row: { entry: foreign, why: 'unknown_job' } },
  ])
  await queue.close()
  await backend.close()
})

test('a time that is none is refused', async () => {
  expect(await cli(['verify', '--since', 'yesterday'])).toMatchObject({ code: 2 })
})

describe('agentbus checkpoint', () => {
  test('takes and prints what verify then accepts as kept, signed by the key of the settings', async () => {
    await aJob(t.ledger, 'succeeded')
    const key = path.join(folder, 'key.pem')
    await writeFile(key, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }))
    const env = { AGENTBUS_SIGNING_KEY: `file:${key}` }
    let taken = await cli(['checkpoint'], env)
    // A transaction of another test on the same server can hold the newest rows back for a moment.
    await expect
      .poll(async () => (taken = /^[0-9]/.test(taken.stdout) ? taken : await cli(['checkpoint'], env)).stdout, { timeout: 20_000 })
      .toMatch(/^1:[0-9a-f]{64} .* signed by [0-9a-f]{16}; [0-9]+ rows of other histories\n$/m)
    const publicKey = await cli(['checkpoint', '--public-key'], env)
    await writeFile(path.join(folder, 'public.pem'), publicKey.stdout)

    const kept = taken.stdout.split(' ')[0] ?? ''
    const verified = await cli(['verify', '--no-queues', '--public-key', path.join(folder, 'public.pem'), '--anchor', kept])
    const forged = await cli(['verify', '--no-queues', '--anchor', `1:${'0'.repeat(64)}`], env)

    expect(publicKey.stdout).toMatch(/^-----BEGIN PUBLIC KEY-----/)
    expect(verified).toMatchObject({ code: 0, stderr: '' })
    expect(verified.stdout).toContain('signatures checked')
    expect(forged.code).toBe(8)
    expect(forged.stdout).toContain('checkpoint_not_as_kept')
  })

  test('refuses a key that is not there, naming where it should be', async () => {
    expect(await cli(['checkpoint', '--public-key'])).toMatchObject({ code: 2 })
    expect((await cli(['checkpoint'], { AGENTBUS_SIGNING_KEY: 'env:NOWHERE' })).stderr).toContain('env:NOWHERE')
    expect((await cli(['checkpoint'], { AGENTBUS_SIGNING_KEY: 'the key itself' })).stderr).toContain('must be env:NAME or file:/path')
  })
})
