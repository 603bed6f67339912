import { generateKeyPairSync } from 'node:crypto'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { runCli } from '../../cli/run.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { recordRestore } from '../../ledger/audit/record-restore.js'
import { signatureChecks, signerOf } from '../../ledger/audit/signing.js'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import type { VerifyState } from '../../ledger/verify/verify-state.js'
import { advanceTransactions, dumpLedger, restoreLedger, transactionOf } from '../support/dumped-ledger.js'
import { aJob, freshLedger, ledgerAt, OPERATOR, TEST_SECRET, type TestJob, type TestLedger } from '../support/ledger.js'
import { ownPostgres } from '../support/own-stores.js'
import { coverAll, found, kindsOf, REHASH, tamper, verifyNow } from '../support/verify.js'

/** A cluster of its own that the dumps are restored into: its transactions are numbered below those of the cluster that was dumped. */
let cluster: Awaited<ReturnType<typeof ownPostgres>>
let old: TestLedger
let restored: ReturnType<typeof ledgerAt>
/** In the dump: covered by checkpoints, and newer than the last of them. */
let [covered, newer]: TestJob[] = []
const PEM = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
const signer = signerOf(PEM)
const unsigned = { signer: undefined }

beforeAll(async () => {
  cluster = await ownPostgres()
})
afterAll(() => cluster.stop())
beforeEach(async () => {
  old = await freshLedger()
  await advanceTransactions(old.url, (await transactionOf(cluster.url)) + 1_000n)
  covered = await aJob(old.ledger, 'succeeded')
  await anEvent(old, 'covered')
  await coverAll(old)
  newer = await aJob(old.ledger, 'cancelled')
  await anEvent(old, 'newer')
  await restoreLedger(cluster.url, await dumpLedger(old.url))
  restored = ledgerAt(cluster.url)
})
afterEach(async () => {
  await restored.database.close()
  await old.close()
})

/** An event that no job came of: no history of a job knows it. */
async function anEvent(ledger: { readonly database: TestLedger['database'] }, topic: string): Promise<void> {
  await ledger.database.pool.query(`insert into events (topic, created_by) values ($1, 'test')`, [topic])
}

async function lastCheckpoint(): Promise<{ seq: number; rows: number; restored_to: string | null; xact_from: string }> {
  const { rows } = await restored.database.pool.query<{ seq: number; rows: number; restored_to: string | null; xact_from: string }>(
    'select seq, rows, restored_to::text, xact_from::text from audit_checkpoints order by seq desc limit 1',
  )
  if (rows[0] === undefined) throw new Error('there is no checkpoint')
  return rows[0]
}

test('without a word about it, a restored ledger takes no checkpoint and does not hold', async () => {
  const taken = await takeCheckpoint(restored.database.db, unsigned)

  expect(taken).toMatchObject({ kind: 'behind' })
  expect(kindsOf(await verifyNow(cluster.url))).toEqual(['checkpoints/transactions_behind'])
})

describe('after the restore was recorded', () => {
  test('the ledger holds, checkpoints go on with what is written, and signatures fit', async () => {
    const recorded = await recordRestore(restored.database.db, { signer })
    const atOnce = await verifyNow(cluster.url, { keys: signatureChecks(signer.publicKeyPem) })
    await aJob(restored.ledger, 'succeeded')
    await coverAll(restored, { signer })

    expect(recorded).toMatchObject({ kind: 'recorded', writtenSince: 0, checkpoints: [{ rows: 2, jobs: 1 }] })
    expect(kindsOf(atOnce)).toEqual([])
    const results = await verifyNow(cluster.url, { keys: signatureChecks(signer.publicKeyPem) })
    expect(kindsOf(results)).toEqual([])
    expect(results.find(({ check }) => check === 'checkpoints')).toMatchObject({ examined: 10, note: expect.stringMatching(/a restore on record; 0 newer rows/) as string })
    expect(await lastCheckpoint()).toMatchObject({ rows: 4, restored_to: null, xact_from: '0' })
  })

  test('what was covered before is found when it is changed: rows, and whole jobs', async () => {
    await recordRestore(restored.database.db, unsigned)
    await coverAll(restored)
    await tamper(cluster.url, [`update job_transitions set actor = 'somebody else' where job_id = $1`, [covered?.id]], REHASH)
    const changed = await verifyNow(cluster.url)
    for (const table of ['job_transitions', 'job_attempts', 'outbox']) await tamper(cluster.url, [`delete from ${table} where job_id = $1`, [covered?.id]])
    await tamper(cluster.url, ['delete from jobs where id = $1', [covered?.id]])

    expect(found(changed, 'covered_row_changed')).toMatchObject({ row: { job_id: covered?.id } })
    expect(found(await verifyNow(cluster.url), 'job_deleted')).toMatchObject({ row: { job_id: covered?.id } })
  })

  test('what the dump held beyond its last checkpoint is found when it is changed', async () => {
    await recordRestore(restored.database.db, unsigned)
    await tamper(cluster.url, [`update job_transitions set actor = 'somebody else' where job_id = $1`, [newer?.id]], REHASH)

    expect(found(await verifyNow(cluster.url), 'covered_row_changed')).toMatchObject({ row: { job_id: newer?.id } })
  })

  test('rows of other histories are found when they are changed, whether the dump had them covered, had them newer, or they came after', async () => {
    await recordRestore(restored.database.db, unsigned)
    await anEvent(restored, 'after')
    await coverAll(restored)
    const fits = kindsOf(await verifyNow(cluster.url))
    for (const topic of ['covered', 'newer', 'after']) await tamper(cluster.url, [`update events set created_by = 'x' where topic = $1`, [topic]])

    const results = await verifyNow(cluster.url)

    expect(fits).toEqual([])
    expect(kindsOf(results)).toEqual(['records/record_changed'])
    expect(found(results, 'record_changed')).toMatchObject({ count: 3, row: { table: 'events' } })
  })

  test('two restores between which no job moved keep what else was written apart', async () => {
    await recordRestore(restored.database.db, unsigned)
    await anEvent(restored, 'between')
    await coverAll(restored)
    await anEvent(restored, 'between, and not covered')
    const again = await freshLedger()
    await restoreLedger(again.url, await dumpLedger(cluster.url))

    const recorded = await recordRestore(again.database.db, unsigned)

    await anEvent(again, 'after')
    await coverAll(again)
    const fits = kindsOf(await verifyNow(again.url))
    await tamper(again.url, `update events set created_by = 'x' where topic like 'between%' or topic = 'after'`)
    const changed = await verifyNow(again.url)
    await again.close()
    expect(recorded).toMatchObject({ kind: 'recorded', checkpoints: [{ rows: 0, records: expect.any(Number) as number }] })
    expect(fits).toEqual([])
    expect(found(changed, 'record_changed')).toMatchObject({ count: 3 })
  })

  test('three restores between which no job moved are on record, also when a job is there before the last is recorded', async () => {
    await recordRestore(restored.database.db, unsigned)
    const ledgers: TestLedger[] = []
    let dump = await dumpLedger(cluster.url)
    for (const n of [2, 3]) {
      const again = await freshLedger()
      ledgers.push(again)
      await restoreLedger(again.url, dump)
      if (n === 3) await aJob(again.ledger, 'cancelled')
      await anEvent(again, `written before restore ${n} was recorded`)
      expect(await recordRestore(again.database.db, unsigned)).toMatchObject({ kind: 'recorded' })
      await anEvent(again, `after restore ${n}`)
      await coverAll(again)
      expect(kindsOf(await verifyNow(again.url))).toEqual([])
      dump = await dumpLedger(again.url)
    }
    const last = ledgers.at(-1)
    await tamper(last?.url ?? '', `update events set created_by = 'x'`)
    const changed = await verifyNow(last?.url ?? '')
    for (const one of ledgers) await one.close()

    // Two in the dump of the first cluster, and two of each restore.
    expect(found(changed, 'record_changed')).toMatchObject({ count: 6 })
  })

  test('a row that is put among what was restored is found', async () => {
    await recordRestore(restored.database.db, unsigned)
    await coverAll(restored)
    await tamper(cluster.url, `delete from events where topic = 'newer'`, `insert into events (id, topic, created_by) overriding system value values (0, 'put in', 'x')`)

    expect(kindsOf(await verifyNow(cluster.url))).toEqual(expect.arrayContaining(['records/record_added', 'records/record_deleted']))
  })

  test('what the new era covers is found when it is changed, and when it is put among what was restored', async () => {
    await recordRestore(restored.database.db, unsigned)
    const fresh = await aJob(restored.ledger, 'cancelled')
    await coverAll(restored)
    const { seq } = await lastCheckpoint()
    await tamper(cluster.url, [`update job_transitions set actor = 'somebody else' where job_id = $1`, [fresh.id]], REHASH)
    const changed = await verifyNow(cluster.url)
    await tamper(cluster.url, [
      `with moved as (delete from job_transitions where job_id = $1 and seq = 1 returning *)
       insert into job_transitions overriding system value
       select (jsonb_populate_record(null::job_transitions, to_jsonb(moved) || jsonb_build_object('id', (select min(id) - 1 from job_transitions)))).* from moved`,
      [fresh.id],
    ])

    expect(found(changed, 'covered_row_changed')).toMatchObject({ row: { job_id: fresh.id, checkpoint: seq } })
    expect(kindsOf(await verifyNow(cluster.url))).toEqual(expect.arrayContaining(['checkpoints/covered_rows_missing']))
  })

  test('the record itself cannot be changed, taken out or moved unseen', async () => {
    await recordRestore(restored.database.db, unsigned)
    const { seq } = await lastCheckpoint()
    await aJob(restored.ledger, 'cancelled')
    await coverAll(restored)
    await tamper(cluster.url, [`update audit_checkpoints set restored_to = restored_to + 1 where seq = $1`, [seq]])
    const moved = await verifyNow(cluster.url)
    await tamper(cluster.url, [`delete from audit_checkpoint_jobs where checkpoint_seq = $1`, [seq]], [`delete from audit_checkpoints where seq = $1`, [seq]])

    expect(found(moved, 'checkpoint_changed')).toMatchObject({ row: { checkpoint: seq } })
    expect(kindsOf(await verifyNow(cluster.url))).toContain('checkpoints/checkpoint_missing')
  })

  test('a check that was stopped, and one since a time, know the eras', async () => {
    await recordRestore(restored.database.db, unsigned)
    await aJob(restored.ledger, 'cancelled')
    await coverAll(restored)
    const states: VerifyState[] = []
    await verifyNow(cluster.url, { save: async (state) => void states.push(JSON.parse(JSON.stringify(state)) as VerifyState) })
    const stops = states.filter(({ open }) => open?.check === 'checkpoints')
    const since = new Date().toISOString()
    await aJob(restored.ledger, 'cancelled')
    await coverAll(restored)

    expect(stops.length).toBeGreaterThan(2)
    for (const resume of stops) expect(kindsOf(await verifyNow(cluster.url, { resume }))).toEqual([])
    expect(kindsOf(await verifyNow(cluster.url, { since }))).toEqual([])
  })

  test('a second restore, of a dump of the restored ledger, is recorded like the first', async () => {
    await recordRestore(restored.database.db, unsigned)
    await aJob(restored.ledger, 'cancelled')
    await coverAll(restored)
    const again = await freshLedger()
    await restoreLedger(again.url, await dumpLedger(cluster.url))

    const recorded = await recordRestore(again.database.db, unsigned)

    await aJob(again.ledger, 'cancelled')
    await coverAll(again)
    const results = await verifyNow(again.url)
    expect(recorded).toMatchObject({ kind: 'recorded' })
    expect(kindsOf(results)).toEqual([])
    expect(results.find(({ check }) => check === 'checkpoints')).toMatchObject({ examined: 10, note: expect.stringContaining('2 restores on record') as string })
    await again.close()
  })
})

test('rows that were written before the restore was recorded belong to the new era', async () => {
  await aJob(restored.ledger, 'cancelled')
  const before = await verifyNow(cluster.url)

  const recorded = await recordRestore(restored.database.db, unsigned)

  await coverAll(restored)
  expect(kindsOf(before)).toEqual(expect.arrayContaining(['checkpoints/transactions_behind']))
  expect(recorded).toMatchObject({ kind: 'recorded', writtenSince: 2 })
  expect(kindsOf(await verifyNow(cluster.url))).toEqual([])
  expect((await lastCheckpoint()).rows).toBe(2)
})

test('rows that were put into the past of a restored ledger are not recorded as its own', async () => {
  const { job } = await old.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'backdated' }))
  await aJob(old.ledger, 'cancelled')
  await tamper(old.url, [`update job_transitions set xact = '3' where job_id = $1`, [job.id]])
  await restoreLedger(cluster.url, await dumpLedger(old.url))

  const recorded = await recordRestore(restored.database.db, unsigned)

  expect(recorded).toEqual({ kind: 'rows_in_the_past', jobId: job.id, seq: 1 })
  expect(await recordRestore(old.database.db, unsigned)).toMatchObject({ kind: 'rows_in_the_past' })
  expect(kindsOf(await verifyNow(cluster.url))).toContain('checkpoints/transactions_behind')
})

test('much that no checkpoint covered is covered in parts, of bounded size', async () => {
  for (let count = 0; count < 6; count += 1) await aJob(old.ledger, 'queued')
  await restoreLedger(cluster.url, await dumpLedger(old.url))

  const recorded = await recordRestore(restored.database.db, { ...unsigned, mostTransactions: 2 })

  if (recorded.kind !== 'recorded') throw new Error(recorded.kind)
  expect(recorded.checkpoints.length).toBeGreaterThan(2)
  expect(recorded.checkpoints.reduce((sum, { rows }) => sum + rows, 0)).toBe(8)
  await aJob(restored.ledger, 'cancelled')
  await coverAll(restored)
  expect(kindsOf(await verifyNow(cluster.url))).toEqual([])
})

test('a copy of the tables that leaves the sequences behind goes on with ids above what was restored', async () => {
  await restored.database.pool.query('alter sequence job_transitions_id_seq restart with 1')
  await restoreLedger(cluster.url, await dumpLedger(old.url), { sequences: false })

  await recordRestore(restored.database.db, unsigned)

  const fresh = await restored.database.pool.query<{ above: boolean }>(`select nextval('job_transitions_id_seq') > (select max(restored_to) from audit_checkpoints) as above`)
  expect(fresh.rows).toEqual([{ above: true }])
})

test('a ledger restored into a cluster that is further on is recorded too, and holds', async () => {
  const recorded = await recordRestore(old.database.db, unsigned)

  await aJob(old.ledger, 'cancelled')
  await coverAll(old)
  expect(recorded).toMatchObject({ kind: 'recorded', writtenSince: 0 })
  expect(kindsOf(await verifyNow(old.url))).toEqual([])
  expect(await recordRestore(old.database.db, unsigned)).toMatchObject({ kind: 'recorded' })
  expect(await recordRestore(old.database.db, unsigned)).toMatchObject({ kind: 'recorded', checkpoints: [{ rows: 0, jobs: 0 }] })
  expect(kindsOf(await verifyNow(old.url))).toEqual([])
})

test('a ledger without history has no restore to record', async () => {
  const empty = await freshLedger()

  expect(await recordRestore(empty.database.db, unsigned)).toEqual({ kind: 'nothing' })
  await empty.close()
})

describe('agentbus checkpoint --after-restore', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'agentbus-restored-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  async function cli(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const said = { stdout: '', stderr: '' }
    const code = await runCli(argv, {
      env: { DATABASE_URL: cluster.url, AGENTBUS_DATA_DIR: folder, AGENTBUS_SECRET: TEST_SECRET, AGENTBUS_QUEUE_BACKEND: 'postgres', AGENTBUS_LOG_LEVEL: 'silent' },
      stdin: (async function* () {})(),
      stdout: { write: (text) => (said.stdout += text) },
      stderr: { write: (text) => (said.stderr += text) },
      cwd: folder,
    })
    return { code, ...said }
  }

  test('is what verify and checkpoint tell to do, prints what to keep, and makes both work', async () => {
    const before = [await cli('checkpoint'), await cli('verify', '--no-queues')]

    const recorded = await cli('checkpoint', '--after-restore')

    await aJob(restored.ledger, 'cancelled')
    await coverAll(restored)
    const kept = recorded.stdout.split(' ')[0] ?? ''
    expect(before.map(({ code }) => code)).toEqual([8, 8])
    expect(before[0]?.stderr).toContain('agentbus checkpoint --after-restore')
    expect(before[1]?.stdout).toContain('agentbus checkpoint --after-restore')
    expect(recorded).toMatchObject({ code: 0, stderr: '' })
    expect(recorded.stdout).toMatch(/^[0-9]+:[0-9a-f]{64} {2}2 rows of 1 jobs, after a restore, not signed; [0-9]+ rows of other histories\nThe restore is on record/)
    expect(await cli('verify', '--no-queues', '--anchor', kept)).toMatchObject({ code: 0, stderr: '' })
  })

  test('a bundle over both eras is checked offline, and a change in either is named', async () => {
    await recordRestore(restored.database.db, { signer })
    const fresh = await aJob(restored.ledger, 'succeeded')
    await coverAll(restored, { signer })
    await aJob(restored.ledger, 'queued')
    const check = async (name: string): Promise<string> => {
      await cli('audit', 'export', '--out', path.join(folder, name))
      const bundle = path.join(folder, name)
      return promisify(execFile)(process.execPath, [path.join(bundle, 'verify-bundle.mjs'), bundle], { cwd: '/', env: {} }).then(
        ({ stdout }) => stdout,
        (error: { stdout: string }) => error.stdout,
      )
    }

    const fits = await check('fits')
    await tamper(cluster.url, [`update job_transitions set actor = 'x' where job_id = $1`, [newer?.id]], REHASH)
    const before = await check('before')
    await tamper(cluster.url, [`delete from job_transitions where job_id = $1 and seq = 4`, [fresh.id]])
    const after = await check('after')

    expect(fits).toMatch(/^11 rows, [0-9]+ checkpoints, [0-9]+ signed, 1 rows newer than the last checkpoint\n[0-9]+ rows of other histories\n(.*\n)?Everything fits\.\n$/)
    expect(before).toContain(`FAULT job ${newer?.id}: row 2 is not the one that checkpoint`)
    expect(after).toContain(`FAULT job ${fresh.id}: checkpoint`)
  })
})
