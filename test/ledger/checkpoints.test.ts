import { createHash, generateKeyPairSync } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CreateJobBody } from '../../contracts/jobs.js'
import { MerkleRoot } from '../../ledger/audit/merkle.js'
import { signatureChecks, signerOf, type Signer } from '../../ledger/audit/signing.js'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import { createJob } from '../../ledger/create-job.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { coverAll, found, kindsOf, REHASH, tamper, UNSIGN, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
})
afterEach(() => t.close())

function aSigner(): Signer {
  return signerOf(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())
}

async function checkpoints(): Promise<{ seq: number; rows: number; hash: string }[]> {
  const { rows } = await t.database.pool.query<{ seq: number; rows: number; hash: string }>(`select seq, rows, encode(hash, 'hex') as hash from audit_checkpoints order by seq`)
  return rows
}

test('the root is that of RFC 6962, for every number of leaves', () => {
  const sha256 = (...parts: Buffer[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()
  const byDefinition = (leaves: Buffer[]): Buffer => {
    const [only] = leaves
    if (only === undefined) return sha256()
    if (leaves.length === 1) return sha256(Buffer.from([0]), only)
    let half = 1
    while (half * 2 < leaves.length) half *= 2
    return sha256(Buffer.from([1]), byDefinition(leaves.slice(0, half)), byDefinition(leaves.slice(half)))
  }
  const leaves = Array.from({ length: 70 }, (_none, at) => sha256(Buffer.from([at])))

  for (let count = 0; count <= leaves.length; count += 1) {
    const tree = new MerkleRoot()
    for (const leaf of leaves.slice(0, count)) tree.add(leaf)
    expect(tree.root()).toEqual(byDefinition(leaves.slice(0, count)))
  }
})

describe('a checkpoint', () => {
  test('covers what is new, each row once, and the ledger holds', async () => {
    await aJob(t.ledger, 'succeeded')
    await coverAll(t)
    const first = (await checkpoints()).reduce((sum, { rows }) => sum + rows, 0)
    await aJob(t.ledger, 'cancelled')
    await coverAll(t)

    const results = await verifyNow(t.url)

    expect(first).toBe(4)
    expect((await checkpoints()).reduce((sum, { rows }) => sum + rows, 0)).toBe(6)
    expect(kindsOf(results)).toEqual([])
    expect(results.find(({ check }) => check === 'checkpoints')).toMatchObject({ examined: 6, note: expect.stringContaining('0 newer rows') as string })
    expect(await takeCheckpoint(t.database.db, { signer: undefined })).toEqual({ kind: 'nothing' })
  })

  test('leaves out what a running transaction may still add to, and covers it afterwards', async () => {
    const seen = { running: -1 }
    await t.ledger.run(async (tx) => {
      // This transaction writes first and commits last.
      await createJob(tx, CreateJobBody.parse({ target_agent: 'devops', subject: 'slow' }), { actor: { kind: 'operator', id: 'test' }, nowMs: Date.now() })
      await aJob(t.ledger, 'queued', { subject: 'quick' })
      for (let taken = await takeCheckpoint(t.database.db, { signer: undefined }); taken.kind === 'taken'; taken = await takeCheckpoint(t.database.db, { signer: undefined }));
      seen.running = (await checkpoints()).reduce((sum, { rows }) => sum + rows, 0)
    })
    await coverAll(t)

    expect(seen.running).toBe(0)
    expect((await checkpoints()).reduce((sum, { rows }) => sum + rows, 0)).toBe(2)
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('is bounded in transactions; several cover a long time', async () => {
    for (let count = 0; count < 6; count += 1) await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'x' }))

    await coverAll(t, { mostTransactions: 2 })

    expect((await checkpoints()).length).toBeGreaterThan(2)
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('is taken once when many try at the same time', async () => {
    await aJob(t.ledger, 'succeeded')

    const taken = await Promise.all(Array.from({ length: 8 }, () => takeCheckpoint(t.database.db, { signer: undefined })))

    expect(taken.filter(({ kind }) => kind === 'taken').length).toBeLessThanOrEqual(1)
    await coverAll(t)
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })

  test('cannot be changed, removed, or put in with another hash', async () => {
    await aJob(t.ledger, 'queued')
    await coverAll(t)
    const { pool } = t.database

    await expect(pool.query('update audit_checkpoints set rows = 7')).rejects.toThrow('append-only')
    await expect(pool.query('delete from audit_checkpoint_jobs')).rejects.toThrow('append-only')
    await expect(pool.query('truncate audit_checkpoints cascade')).rejects.toThrow('append-only')
    const same = 'rows, jobs, first_id, last_id, root, jobs_hash, key_id, created_at, records, records_hash, signature'
    const copy = `insert into audit_checkpoints (seq, xact_from, xact_to, prev_hash, hash, ${same})
      select seq + 1, xact_to, $1::xid8, hash, hash, ${same} from audit_checkpoints order by seq desc limit 1`
    await expect(pool.query(copy, ['9999999999'])).rejects.toThrow('have not ended')
    await expect(pool.query(`${copy.replace('$1::xid8', `(xact_to::text::bigint + 1)::text::xid8`)}`)).rejects.toThrow(/does not have the hash|have not ended/)
  })
})

describe('behind the back of a checkpoint', () => {
  test('a job that was deleted with all its rows is found and named', async () => {
    const [gone] = [await aJob(t.ledger, 'succeeded'), await aJob(t.ledger, 'succeeded')]
    await coverAll(t)
    for (const table of ['job_transitions', 'job_attempts', 'outbox']) await tamper(t.url, [`delete from ${table} where job_id = $1`, [gone.id]])
    await tamper(t.url, [`delete from jobs where id = $1`, [gone.id]])

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['checkpoints/job_deleted'])
    expect(found(results, 'job_deleted')).toMatchObject({ row: { job_id: gone.id, covered_from: 1, found: 0 } })
  })

  test('a tail that was cut off, with the job made to fit, is found', async () => {
    const { id } = await aJob(t.ledger, 'cancelled')
    await coverAll(t)
    await tamper(
      t.url,
      [`delete from job_transitions where job_id = $1 and seq = 2`, [id]],
      [`update jobs set status = 'queued', last_seq = 1, finished_at = null where id = $1`, [id]],
    )

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['checkpoints/tail_cut_off'])
    expect(found(results, 'tail_cut_off')).toMatchObject({ row: { job_id: id, covered_to: 2 } })
  })

  test('a history that was written anew with hashes that fit is found', async () => {
    const { id } = await aJob(t.ledger, 'cancelled')
    await coverAll(t)
    await tamper(t.url, [`update job_transitions set actor = 'somebody else' where job_id = $1`, [id]], REHASH)

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['checkpoints/covered_row_changed'])
    expect(found(results, 'covered_row_changed')).toMatchObject({ row: { job_id: id } })
  })

  test('a row that was put in, with everything made to fit, is found', async () => {
    const { id } = await aJob(t.ledger, 'cancelled')
    await coverAll(t)
    await tamper(
      t.url,
      [
        `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, xact)
         select job_id, 3, 'note', to_status, to_status, 'progress', 'worker', 'nobody', xact from job_transitions where job_id = $1 and seq = 2`,
        [id],
      ],
      [`update jobs set last_seq = 3 where id = $1`, [id]],
      REHASH,
    )

    const results = await verifyNow(t.url)

    expect(kindsOf(results)).toEqual(['checkpoints/rows_added'])
    expect(found(results, 'rows_added')).toMatchObject({ row: { job_id: id } })
  })

  test('a whole job that was put into the past is found', async () => {
    const { id } = await aJob(t.ledger, 'cancelled')
    await coverAll(t)
    const { job } = await t.ledger.jobs.create(OPERATOR, CreateJobBody.parse({ target_agent: 'devops', subject: 'backdated' }))
    await tamper(t.url, [`update job_transitions set xact = (select min(xact) from job_transitions where job_id = $2) where job_id = $1`, [job.id, id]])

    expect(found(await verifyNow(t.url), 'rows_added')).toMatchObject({ row: { job_id: job.id, covered_to: null } })
  })

  test('rows that are newer than the last checkpoint are said to be uncovered', async () => {
    await aJob(t.ledger, 'queued')

    const results = await verifyNow(t.url)

    expect(results.find(({ check }) => check === 'checkpoints')).toMatchObject({ verdict: 'ok', note: 'up to checkpoint 0, not signed; 1 newer rows are not covered' })
  })
})

describe('a checkpoint that was tampered with', () => {
  let signer: Signer
  let keys: ReturnType<typeof signatureChecks>
  beforeEach(async () => {
    signer = aSigner()
    keys = signatureChecks(signer.publicKeyPem)
    for (let count = 0; count < 3; count += 1) {
      await aJob(t.ledger, 'cancelled')
      await coverAll(t, { signer })
    }
  })

  test('holds while nobody did', async () => {
    const results = await verifyNow(t.url, { keys })

    expect(kindsOf(results)).toEqual([])
    expect(results.find(({ check }) => check === 'checkpoints')?.note).toContain('signatures checked')
  })

  test('is found when a field was changed', async () => {
    await tamper(t.url, `update audit_checkpoints set rows = rows + 1 where seq = 2`)

    expect(found(await verifyNow(t.url, { keys }), 'checkpoint_changed')).toMatchObject({ row: { checkpoint: 2 } })
  })

  test('is found when its hash was made to fit: the next one does not follow, and the signature is wrong', async () => {
    await tamper(
      t.url,
      `update audit_checkpoints set rows = rows + 1 where seq = 2`,
      `update audit_checkpoints c set hash = sha256(prev_hash || convert_to(audit_checkpoint_canonical(c), 'UTF8')) where seq = 2`,
    )

    const results = await verifyNow(t.url, { keys })

    expect(found(results, 'checkpoint_chain_broken')).toMatchObject({ row: { checkpoint: 3 } })
    expect(found(results, 'signature_wrong')).toMatchObject({ row: { checkpoint: 2 } })
  })

  test('is found when it was removed, with its jobs', async () => {
    await tamper(t.url, ...['jobs', 'records'].map((of) => `delete from audit_checkpoint_${of} where checkpoint_seq = 2`), 'delete from audit_checkpoints where seq = 2')

    expect(found(await verifyNow(t.url, { keys }), 'checkpoint_missing')).toMatchObject({ row: { checkpoint: 3 } })
  })

  test('is found by a copy that was kept, when it was cut off at the end', async () => {
    const last = (await checkpoints()).at(-1)
    await tamper(
      t.url,
      ...['jobs', 'records'].map((of) => `delete from audit_checkpoint_${of} where checkpoint_seq = ${last?.seq ?? 0}`),
      `delete from audit_checkpoints where seq = ${last?.seq ?? 0}`,
    )
    const anchors = [{ seq: last?.seq ?? 0, hash: last?.hash ?? '' }]

    expect(kindsOf(await verifyNow(t.url, { keys }))).toEqual([])
    expect(found(await verifyNow(t.url, { keys, anchors }), 'checkpoint_not_as_kept')).toMatchObject({ row: { checkpoint: last?.seq, hash: null } })
  })

  test('is found when its list of jobs was changed', async () => {
    await tamper(t.url, 'delete from audit_checkpoint_jobs where checkpoint_seq = 2')

    expect(found(await verifyNow(t.url, { keys }), 'checkpoint_jobs_changed')).toMatchObject({ row: { checkpoint: 2 } })
  })

  test('is found when the signature is of another key, known or not, or was taken off', async () => {
    const other = aSigner()
    await tamper(t.url, [`update audit_checkpoints set signature = $1 where seq = 2`, [other.sign(Buffer.alloc(32))]])

    expect(found(await verifyNow(t.url, { keys }), 'signature_wrong')).toMatchObject({ row: { checkpoint: 2 } })
    expect(found(await verifyNow(t.url, { keys: signatureChecks(other.publicKeyPem) }), 'signature_of_unknown_key')).toMatchObject({ row: { checkpoint: 1 } })
    await tamper(t.url, `update audit_checkpoints set signature = null, key_id = null where seq = 3`)
    expect(kindsOf(await verifyNow(t.url, { keys }))).toEqual(expect.arrayContaining(['checkpoints/signature_missing', 'checkpoints/checkpoint_changed']))
  })

  test('is found by whoever has the key when all were taken away, once there is history that one would cover', async () => {
    await tamper(t.url, 'delete from audit_checkpoint_jobs', 'delete from audit_checkpoint_records', 'delete from audit_checkpoints')
    expect(kindsOf(await verifyNow(t.url, { keys }))).toEqual([])
    await tamper(t.url, `update job_transitions set at = at - interval '2 hours'`, REHASH)

    expect(found(await verifyNow(t.url, { keys }), 'checkpoints_gone')).toMatchObject({ row: { checkpoint: null }, count: 1 })
    expect(kindsOf(await verifyNow(t.url))).not.toContain('checkpoints/checkpoints_gone')
  })

  test('is found by whoever has the key when all signatures were taken off and every hash made to fit', async () => {
    const newest = (await checkpoints()).at(-1)?.seq
    await tamper(t.url, UNSIGN)

    const results = await verifyNow(t.url, { keys })

    expect(kindsOf(results)).toEqual(['checkpoints/signature_missing'])
    expect(found(results, 'signature_missing')).toMatchObject({ row: { checkpoint: newest, key_id: null }, count: 1 })
    expect(found(await verifyNow(t.url, { keys, since: new Date(Date.now() + 3_600_000).toISOString() }), 'signature_missing')).toMatchObject({
      row: { checkpoint: newest },
      count: 1,
    })
    expect(kindsOf(await verifyNow(t.url))).toEqual([])
  })
})

test('checkpoints from before somebody began to sign are no fault, as long as the newest is signed', async () => {
  const signer = aSigner()
  const keys = signatureChecks(signer.publicKeyPem)
  const none = await verifyNow(t.url, { keys })
  await aJob(t.ledger, 'cancelled')
  await coverAll(t)
  const unsigned = await verifyNow(t.url, { keys })
  await aJob(t.ledger, 'cancelled')
  await coverAll(t, { signer })

  const signed = await verifyNow(t.url, { keys })

  expect(kindsOf(none)).toEqual([])
  expect(kindsOf(unsigned)).toEqual(['checkpoints/signature_missing'])
  expect(kindsOf(signed)).toEqual([])
})

test('a row is numbered by the ledger, whoever writes it, and one that bears a number of the future is found', async () => {
  const { id } = await aJob(t.ledger, 'queued')
  const client = await t.database.pool.connect()
  await client.query('begin')
  const { rows } = await client.query<{ own: boolean }>(
    `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, xact)
     values ($1, 2, 'note', 'queued', 'queued', 'progress', 'worker', 'w', '9000000000000000000') returning xact = pg_current_xact_id() as own`,
    [id],
  )
  await client.query('rollback')
  client.release()
  expect(rows).toEqual([{ own: true }])
  expect(kindsOf(await verifyNow(t.url))).toEqual([])
  await tamper(t.url, [`update job_transitions set xact = '9000000000000000000' where job_id = $1`, [id]])

  expect(kindsOf(await verifyNow(t.url))).toContain('checkpoints/transaction_of_the_future')
})

test('transactions that are numbered below the last checkpoint are told, and nothing is taken', async () => {
  await aJob(t.ledger, 'queued')
  await coverAll(t)
  await tamper(t.url, `update audit_checkpoints set xact_to = '999999999999'`)

  expect(await takeCheckpoint(t.database.db, { signer: undefined })).toEqual({ kind: 'behind', last: '999999999999' })
  expect(kindsOf(await verifyNow(t.url))).toContain('checkpoints/transactions_behind')
})

test('a key that is none is refused without being repeated', () => {
  expect(() => signerOf('-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----')).toThrow(/does not name a private Ed25519 key/)
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  expect(() => signerOf(rsa)).toThrow(/Ed25519/)
})
