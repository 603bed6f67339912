import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { runCli } from '../../cli/run.js'
import { EmitEventBody } from '../../contracts/events.js'
import { signerOf } from '../../ledger/audit/signing.js'
import { copyDatabase, type CopiedDatabase } from '../support/copied-database.js'
import { aJob, freshLedger, ledgerAt, OPERATOR, TEST_SECRET, type TestJob, type TestLedger } from '../support/ledger.js'
import { coverAll, REHASH, tamper, UNSIGN } from '../support/verify.js'

const PEM = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

/** The ledger that each test begins with a copy of. */
let filled: string
let jobs: readonly TestJob[]
beforeAll(async () => {
  const base = await freshLedger()
  filled = base.url
  await aJob(base.ledger, 'cancelled', { subject: 'Grüße "mit" \\ und\nZeile' })
  jobs = [await aJob(base.ledger, 'succeeded'), await aJob(base.ledger, 'succeeded'), await aJob(base.ledger, 'cancelled')]
  await coverAll(base, { signer: signerOf(PEM) })
  await base.database.close()
})

let t: Pick<TestLedger, 'ledger' | 'database' | 'url'>
let copy: CopiedDatabase
let folder: string
beforeEach(async () => {
  copy = await copyDatabase(filled)
  t = { ...ledgerAt(copy.url), url: copy.url }
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bundle-'))
})
afterEach(async () => {
  await t.database.close()
  await copy.drop()
  await rm(folder, { recursive: true, force: true })
})

async function audit(name: string, ...more: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' }
  const code = await runCli(['audit', 'export', '--out', path.join(folder, name), ...more], {
    env: { DATABASE_URL: t.url, AGENTBUS_DATA_DIR: folder, AGENTBUS_SECRET: TEST_SECRET, AGENTBUS_QUEUE_BACKEND: 'postgres', AGENTBUS_SIGNING_KEY: 'env:THE_KEY', THE_KEY: PEM },
    stdin: (async function* () {})(),
    stdout: { write: (text) => (said.stdout += text) },
    stderr: { write: (text) => (said.stderr += text) },
    cwd: folder,
  })
  return { code, ...said }
}

/** Runs the script that lies in the bundle, with nothing of agentbus beside it. */
async function check(name: string, ...more: string[]): Promise<{ code: number; said: string }> {
  const bundle = path.join(folder, name)
  const run = promisify(execFile)(process.execPath, [path.join(bundle, 'verify-bundle.mjs'), bundle, ...more], { cwd: '/', env: {} })
  return run.then(
    ({ stdout }) => ({ code: 0, said: stdout }),
    (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, said: error.stdout + error.stderr }),
  )
}

async function edit(name: string, file: string, change: (lines: Record<string, unknown>[]) => Record<string, unknown>[]): Promise<void> {
  const at = path.join(folder, name, file)
  const lines = (await readFile(at, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  await writeFile(
    at,
    change(lines)
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  )
}

test('a bundle holds all it needs, and fits', async () => {
  const exported = await audit('b')

  expect(exported).toMatchObject({ code: 0, stderr: '' })
  expect((await readdir(path.join(folder, 'b'))).sort()).toEqual([
    'checkpoint-jobs.jsonl',
    'checkpoint-records.jsonl',
    'checkpoints.jsonl',
    'jobs.jsonl',
    'manifest.json',
    'prunes.jsonl',
    'public-key.pem',
    'records.jsonl',
    'transitions.jsonl',
    'verify-bundle.mjs',
  ])
  const checked = await check('b')
  expect(checked).toMatchObject({ code: 0 })
  expect(checked.said).toMatch(/^12 rows, [0-9]+ checkpoints, [0-9]+ signed, 0 rows newer/)
  expect(await readFile(path.join(folder, 'b', 'manifest.json'), 'utf8')).not.toContain('PRIVATE')
})

test('rows that no checkpoint covers yet are in it, and said to be uncovered', async () => {
  await aJob(t.ledger, 'queued')

  await audit('b')

  expect(await check('b')).toMatchObject({ code: 0, said: expect.stringContaining('1 rows newer than the last checkpoint') as string })
})

test('a time takes whole checkpoints, and histories may begin before it', async () => {
  const signer = signerOf(PEM)
  const early = await aJob(t.ledger, 'queued')
  await coverAll(t, { signer })
  await aJob(t.ledger, 'queued')
  await coverAll(t, { signer })
  const from = new Date().toISOString()
  await t.ledger.jobs.cancel(OPERATOR, early.id, 'test')
  await coverAll(t, { signer })

  await audit('b', '--from', from)

  const checked = await check('b')
  expect(checked).toMatchObject({ code: 0 })
  expect(checked.said).toMatch(/^2 rows, 2 checkpoints/)
  expect(await readFile(path.join(folder, 'b', 'transitions.jsonl'), 'utf8')).toContain(`"job_id" : "${early.id}", "seq" : 2`)
})

test('the key of the auditor counts, not the one in the bundle', async () => {
  await audit('b')
  const other = path.join(folder, 'other.pem')
  await writeFile(other, signerOf(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()).publicKeyPem)

  expect(await check('b', '--key', path.join(folder, 'b', 'public-key.pem'))).toMatchObject({ code: 0 })
  expect(await check('b', '--key', other)).toMatchObject({ code: 1, said: expect.stringContaining('which was not given') as string })
})

test('a key that was given has to have signed the newest checkpoint: signatures that were all taken off are found, and checkpoints that are gone', async () => {
  const key = path.join(folder, 'key.pem')
  await writeFile(key, signerOf(PEM).publicKeyPem)
  await tamper(t.url, UNSIGN)
  await audit('b')
  await audit('c')
  for (const file of ['checkpoints.jsonl', 'checkpoint-jobs.jsonl']) await edit('c', file, () => [])

  const [unsigned, gone] = [await check('b', '--key', key), await check('c', '--key', key)]

  expect(unsigned.code).toBe(1)
  expect(unsigned.said.match(/^FAULT .*$/gm)).toEqual([expect.stringMatching(/^FAULT checkpoint [0-9]+, the newest, is not signed/)])
  expect(gone).toMatchObject({ code: 1, said: expect.stringContaining('FAULT there is no checkpoint') as string })
  expect(await check('b')).toMatchObject({ code: 0 })
})

test('a bundle up to a time has every row of that time, also when several checkpoints were taken over its end', async () => {
  for (let n = 0; n < 3; n += 1) await aJob(t.ledger, 'cancelled')
  const to = new Date().toISOString()
  await coverAll(t, { signer: signerOf(PEM), mostTransactions: 1 })
  const { rows } = await t.database.pool.query<{ n: number }>('select count(*)::int as n from job_transitions')

  expect(await audit('b', '--to', to)).toMatchObject({ code: 0 })

  expect((await check('b')).said).toMatch(new RegExp(`^${rows[0]?.n ?? 0} rows, [0-9]+ checkpoints`))
  expect(await audit('c', '--from', to, '--to', '2020-01-01T00:00:00Z')).toMatchObject({ code: 2 })
})

test.each([
  ['a file without a public key', ['--key', 'KEYLESS']],
  ['no file after --key', ['--key']],
  ['a word that it does not know', ['--keys=x']],
])('the script checks nothing and says so, given %s', async (_what, words) => {
  await audit('b')
  const keyless = path.join(folder, 'keyless.pem')
  await writeFile(keyless, '-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n')

  expect(await check('b', ...words.map((word) => (word === 'KEYLESS' ? keyless : word)))).toMatchObject({ code: 2 })
})

test('checkpoints from before somebody began to sign are no fault of a bundle', async () => {
  const key = path.join(folder, 'key.pem')
  await writeFile(key, signerOf(PEM).publicKeyPem)
  await tamper(t.url, UNSIGN)
  await aJob(t.ledger, 'cancelled')
  await coverAll(t, { signer: signerOf(PEM) })
  await audit('b')

  expect(await check('b', '--key', key)).toMatchObject({ code: 0, said: expect.stringMatching(/^14 rows, [0-9]+ checkpoints, [1-9] signed/) as string })
})

test('a folder with something in it is refused', async () => {
  await audit('b')

  expect(await audit('b')).toMatchObject({ code: 2 })
})

test('rows of other histories are in it with what they say, and what a prune took is said to be gone', async () => {
  await emitAndRead()
  const before = await audit('b')
  const { rows } = await t.database.pool.query<{ id: string }>('select max(id)::text as id from accesses')
  const last = rows[0]?.id ?? ''
  // As `agentbus prune` leaves it: the log is cut, and a row says up to where.
  await tamper(t.url, 'delete from accesses')
  await audit('c')
  await edit('c', 'prunes.jsonl', () => [{ kind: 'accesses', last_key: last }])
  await audit('d')
  await tamper(t.url, `insert into events (topic, created_by, xact) select 'put in', 'x', xact from events`)
  await audit('e')
  // A list of its own, for a checkpoint that nobody has taken.
  await edit('e', 'checkpoint-records.jsonl', (lines) => [...lines, { checkpoint_seq: 999, history: 'events', part: 0, restored_to: null, ids: '2', hashes: '00'.repeat(32) }])

  expect(before.code).toBe(0)
  expect((await check('b')).said).toMatch(/^[0-9]+ rows of other histories$/m)
  expect(await check('c')).toMatchObject({ code: 0, said: expect.stringContaining('; 1 more are gone by prunes') as string })
  expect(await check('e')).toMatchObject({ code: 1, said: expect.stringContaining('FAULT a list names checkpoint 999') as string })
  expect(await check('d')).toMatchObject({ code: 1, said: expect.stringContaining(`FAULT row ${last} of accesses is missing`) as string })
})

/** An event that no job came of, and a read, both covered by a checkpoint. */
async function emitAndRead(): Promise<void> {
  await t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic: 'disk.full', payload: { host: 'db-1' } }))
  t.ledger.accesses.note({ atMs: Date.now(), caller: OPERATOR.caller, route: 'GET /v1/jobs', target: {}, status: 200 })
  await t.ledger.accesses.flush()
  await coverAll(t, { signer: signerOf(PEM) })
}

describe('the script finds, in a bundle of a ledger that was tampered with,', () => {
  const id = (at: number): string => jobs[at]?.id ?? ''

  test.each([
    ['a changed byte', () => tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [id(0)]]), () => `row 2 of job ${id(0)} was changed`],
    ['a deleted row', () => tamper(t.url, [`delete from job_transitions where job_id = $1 and seq = 2`, [id(0)]]), () => `row 3 of job ${id(0)} follows row 1`],
    [
      'a truncated tail',
      () =>
        tamper(
          t.url,
          [`delete from job_transitions where job_id = $1 and seq = 2`, [id(2)]],
          [`update jobs set last_seq = 1, status = 'queued', finished_at = null where id = $1`, [id(2)]],
        ),
      () => `job ${id(2)}: checkpoint`,
    ],
    [
      'two rows that changed places',
      () =>
        tamper(
          t.url,
          [`update job_transitions set seq = 99 where job_id = $1 and seq = 2`, [id(0)]],
          [`update job_transitions set seq = 2 where job_id = $1 and seq = 3`, [id(0)]],
          [`update job_transitions set seq = 3 where job_id = $1 and seq = 99`, [id(0)]],
        ),
      () => `row 3 of job ${id(0)} was changed`,
    ],
    [
      'a row that was put in',
      () =>
        tamper(
          t.url,
          [
            `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, xact)
             select job_id, seq + 1, 'note', to_status, to_status, 'progress', 'worker', 'nobody', xact from job_transitions where job_id = $1 and seq = 4`,
            [id(0)],
          ],
          [`update jobs set last_seq = 5 where id = $1`, [id(0)]],
          REHASH,
        ),
      () => `job ${id(0)}: checkpoint`,
    ],
    [
      'a job that was deleted with all its rows',
      async () => {
        for (const table of ['job_transitions', 'job_attempts', 'outbox']) await tamper(t.url, [`delete from ${table} where job_id = $1`, [id(0)]])
        await tamper(t.url, [`delete from jobs where id = $1`, [id(0)]])
      },
      () => `job ${id(0)}: checkpoint`,
    ],
    ['a history written anew', () => tamper(t.url, [`update job_transitions set actor = 'x' where job_id = $1`, [id(2)]], REHASH), () => `job ${id(2)}: row`],
    ['a changed state', () => tamper(t.url, [`update jobs set status = 'failed' where id = $1`, [id(0)]]), () => `job ${id(0)} is failed at row 4; its history says succeeded`],
    ['a changed checkpoint', () => tamper(t.url, 'update audit_checkpoints set rows = rows + 1 where seq = 1'), () => 'checkpoint 1 was changed'],
    ['a changed event', () => tamper(t.url, `update events set topic = 'disk.fine'`), () => 'row 1 of events was changed: checkpoint'],
    ['a deleted event', () => tamper(t.url, 'delete from events'), () => 'row 1 of events is missing: checkpoint'],
    [
      'an event that was put in',
      () => tamper(t.url, `insert into events (topic, created_by, xact) select 'disk.full', 'x', xact from events`),
      () => 'row 2 of events was put into the past',
    ],
    ['a list of rows that was cut short', () => tamper(t.url, `delete from audit_checkpoint_records where history = 'events'`), () => 'the list of rows of checkpoint'],
    ['a wrong signature', () => tamper(t.url, [`update audit_checkpoints set signature = $1 where seq = 1`, [Buffer.alloc(64)]]), () => 'the signature of checkpoint 1 is wrong'],
  ])('%s', async (_what, change, says) => {
    await emitAndRead()
    await change()
    await audit('b')

    const checked = await check('b')

    expect(checked.code).toBe(1)
    expect(checked.said).toContain(`FAULT ${says()}`)
    expect(checked.said).toContain('This is not what the ledger wrote.')
  })
})

describe('the script finds, in a bundle that was edited,', () => {
  test('a line that was taken out of each of its files', async () => {
    await audit('b')
    await edit('b', 'transitions.jsonl', (lines) => lines.slice(0, -1))
    expect((await check('b')).said).toMatch(/FAULT job [0-9a-f-]+: checkpoint [0-9]+ covers it up to row 2, the rows end at 1/)

    await audit('c')
    await edit('c', 'checkpoint-jobs.jsonl', (lines) => lines.slice(1))
    expect((await check('c')).said).toContain('FAULT the list of jobs of checkpoint 1 was changed')

    await audit('d')
    await edit('d', 'jobs.jsonl', (lines) => lines.slice(1))
    expect((await check('d')).said).toMatch(/FAULT job [0-9a-f-]+ has a history and no row/)
  })

  test('a file that is not there, as something it cannot read', async () => {
    await audit('b')
    await rm(path.join(folder, 'b', 'checkpoints.jsonl'))

    expect(await check('b')).toMatchObject({ code: 2 })
  })
})
