import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Redis } from 'ioredis'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { checkBackup } from '../../ledger/backup/check-backup.js'
import { manifestText, readManifest } from '../../ledger/backup/manifest.js'
import { signerOf } from '../../ledger/audit/signing.js'
import { takeCheckpoint } from '../../ledger/audit/take-checkpoint.js'
import { restoreBackup } from '../../ledger/backup/restore-backup.js'
import { emptyDatabase, runServerCli, type Ran } from '../support/server-cli.js'
import { advanceTransactions, transactionOf } from '../support/dumped-ledger.js'
import { aJob, aSlot, freshLedger, leaseAs, ledgerAt, TEST_SECRET, type TestLedger } from '../support/ledger.js'
import { ownPostgres } from '../support/own-stores.js'
import { coverAll, kindsOf, tamper, verifyNow } from '../support/verify.js'

// Each restores a ledger or several.
vi.setConfig({ testTimeout: 120_000 })

let t: TestLedger
let folder: string
let target: string
beforeEach(async () => {
  t = await freshLedger()
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-backup-'))
  target = await emptyDatabase()
})
afterEach(async () => {
  await t.close()
  await rm(folder, { recursive: true, force: true })
})

const out = (): string => path.join(folder, 'monday')
const cli = (argv: readonly string[], env: Record<string, string> = {}): Promise<Ran> => runServerCli(argv, { DATABASE_URL: t.url, AGENTBUS_DATA_DIR: folder, ...env })
const backUp = (): Promise<Ran> => cli(['backup', '--out', out()])
const restore = (...more: string[]): Promise<Ran> => cli(['restore', '--from', out(), ...more], { DATABASE_URL: target })

async function connected<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const query = <T extends pg.QueryResultRow>(url: string, text: string, values: unknown[] = []): Promise<T[]> =>
  connected(url, async (client) => (await client.query<T>(text, values)).rows)

/** Every row of every table, by its text, without what a restore changes on purpose. All over one connection: to make one for each table takes seconds. */
function content(url: string): Promise<Record<string, string>> {
  return connected(url, async (client) => {
    const names = await client.query<{ name: string }>(`select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`)
    const all: Record<string, string> = {}
    for (const { name } of names.rows) {
      if (['queue_epochs', 'outbox', 'dispatcher_heartbeats'].includes(name)) continue
      const row = name === 'jobs' ? `to_jsonb(x) - 'generation'` : 'to_jsonb(x)'
      const where = name === 'observations' ? `where code <> 'restored'` : ''
      const { rows } = await client.query<{ text: string }>(
        `select coalesce(string_agg(r::text, E'\\n' order by r::text), '') as text from (select ${row} as r from ${name} x ${where}) y`,
      )
      all[name] = rows[0]?.text ?? ''
    }
    return all
  })
}

async function aLedgerWithEverything(): Promise<void> {
  for (const status of ['queued', 'waiting', 'succeeded', 'blocked', 'running', 'failed'] as const)
    await aJob(t.ledger, status, { payload: { text: 'Tab\t, Zeile\n, \\N und "Grüße"' } })
  await aSlot(t.ledger)
  await coverAll(t)
  await aJob(t.ledger, 'queued', { subject: 'after the checkpoint' })
}

describe('a backup', () => {
  test('restored into an empty database has the same rows in every table, verifies, and can be written to', async () => {
    await aLedgerWithEverything()

    const made = await backUp()
    const restored = await restore()

    expect([made, restored]).toMatchObject([
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ])
    expect(await content(target)).toEqual(await content(t.url))
    expect(kindsOf(await verifyNow(target))).toEqual([])
    const [next] = await query<{ id: string }>(
      target,
      `insert into observations (kind, code, actor_kind, actor, detail) values ('mend', 'x', 'system', 'x', 'x') returning id::text as id`,
    )
    const [last] = await query<{ id: string }>(t.url, 'select max(id)::text as id from observations')
    expect(Number(next?.id)).toBeGreaterThan(Number(last?.id ?? 0) + 1)
  })

  test('is readable by its owner alone, and holds no token', async () => {
    await aLedgerWithEverything()
    await backUp()

    const modes = await Promise.all((await readdir(out())).map(async (name) => (await stat(path.join(out(), name))).mode & 0o777))

    expect((await stat(out())).mode & 0o777).toBe(0o700)
    expect(new Set(modes)).toEqual(new Set([0o600]))
    const text = JSON.stringify(await content(t.url))
    expect(text).not.toContain(t.operatorToken)
    expect(text).not.toContain(TEST_SECRET)
  })

  test('is one moment: what commits while it is written is not in it by half', async () => {
    let [more, stop] = [0, false]
    const writer = (async () => {
      while (!stop) {
        await aJob(t.ledger, 'succeeded')
        more += 1
      }
    })()
    await expect.poll(() => more, { timeout: 20_000 }).toBeGreaterThan(5)

    const made = await backUp()
    stop = true
    await writer
    const restored = await restore()

    expect(made.code).toBe(0)
    expect(restored).toMatchObject({ code: 0, stderr: '' })
    const [rows] = await query<{ jobs: number; histories: number }>(
      target,
      'select count(*)::int as jobs, (select count(distinct job_id)::int from job_transitions) as histories from jobs',
    )
    expect(rows?.jobs).toBe(rows?.histories)
    expect(rows?.jobs).toBeLessThanOrEqual(more)
  })

  test('has the tables of the ledger and none that somebody has put beside them, so that it can be restored', async () => {
    await query(t.url, `create table notes (id int generated always as identity, text text)`)
    await query(t.url, `insert into notes (text) values ('mine')`)
    await aJob(t.ledger, 'succeeded')

    const made = await backUp()
    const restored = await restore()

    expect([made, restored]).toMatchObject([
      { code: 0, stderr: '' },
      { code: 0, stderr: '' },
    ])
    expect(await query(target, `select to_regclass('public.notes') as notes, (select count(*)::int from jobs) as jobs`)).toEqual([{ notes: null, jobs: 1 }])
  })

  test('does not overwrite what is there, and leaves nothing behind when it fails', async () => {
    await writeFile(out(), 'mine')

    const refused = await backUp()
    const failed = await cli(['backup', '--out', path.join(folder, 'tuesday')], { DATABASE_URL: target })

    expect(refused).toMatchObject({ code: 2 })
    expect(refused.stderr).toContain('none is overwritten')
    expect(failed.code).toBe(9)
    expect(await readFile(out(), 'utf8')).toBe('mine')
    expect(await readdir(folder)).toEqual(['monday'])
  })

  test('that was killed in the middle is no backup', async () => {
    for (let count = 0; count < 5; count += 1) await aJob(t.ledger, 'queued', { payload: { text: 'x'.repeat(60_000) } })
    // The last table cannot be read while it is locked, so the backup stops before it.
    const blocker = new pg.Client({ connectionString: t.url })
    await blocker.connect()
    await blocker.query('begin; lock table workflows in access exclusive mode')
    const child = spawn(process.execPath, ['bin/agentbus.mjs', 'backup', '--out', out()], {
      env: { ...process.env, DATABASE_URL: t.url, AGENTBUS_DATA_DIR: folder },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
    await expect.poll(() => said, { timeout: 20_000 }).toContain('workflow_transitions')

    child.kill('SIGKILL')
    await once(child, 'exit')
    await blocker.end()
    const [left = ''] = await readdir(folder)
    const restored = await cli(['restore', '--from', path.join(folder, left)], { DATABASE_URL: target })

    expect(left).toMatch(/^monday\.partial-\d+$/)
    expect(restored.code).toBe(2)
    expect(restored.stderr).toContain('did not come to its end')
    expect(await query(target, `select 1 from pg_class where relnamespace = 'public'::regnamespace`)).toEqual([])
  })
})

describe('a restore refuses, and changes nothing', () => {
  beforeEach(async () => {
    await aJob(t.ledger, 'succeeded')
    await backUp()
  })

  test('a file that was changed, and one that is missing', async () => {
    const file = path.join(out(), 'jobs.copy.gz')
    const bytes = await readFile(file)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    await writeFile(file, bytes)
    const changed = await restore()
    await rm(file)
    const missing = await restore()

    expect([changed, missing]).toMatchObject([{ code: 2 }, { code: 2 }])
    expect(changed.stderr).toContain('jobs.copy.gz of the backup is not what was written')
    expect(missing.stderr).toContain('jobs.copy.gz of the backup cannot be read')
    expect(await query(target, `select 1 from pg_class where relnamespace = 'public'::regnamespace`)).toEqual([])
  })

  test('a manifest that was changed, another format, and migrations that this build does not know', async () => {
    const file = path.join(out(), 'manifest.json')
    const { hash: _hash, ...body } = await readManifest(out())
    const said: string[] = []
    for (const text of [
      (await readFile(file, 'utf8')).replace(/"rows": 1,/, '"rows": 2,'),
      JSON.stringify({ ...body, format: 'agentbus backup 9' }),
      manifestText({ ...body, migrations: [...body.migrations, 'f'.repeat(64)] }),
      manifestText({ ...body, migrations: ['f'.repeat(64)] }),
    ]) {
      await writeFile(file, text)
      const ran = await restore()
      expect(ran.code).toBe(2)
      said.push(ran.stderr)
    }

    expect(said[0]).toContain('was changed')
    expect(said[1]).toContain('agentbus backup 9')
    expect(said[2]).toContain('the build that made it')
    expect(said[3]).toContain('another line of agentbus')
  })

  test('a ledger with something in it, unless it may be replaced', async () => {
    const other = await freshLedger()
    target = other.url
    const before = await aJob(other.ledger, 'succeeded')
    await other.database.close()

    const refused = await restore()
    const still = await query(target, 'select id from jobs where id = $1', [before.id])
    const replaced = await restore('--replace')

    expect(refused.code).toBe(5)
    expect(refused.stderr).toContain('--replace')
    expect(still).toHaveLength(1)
    expect(replaced).toMatchObject({ code: 0 })
    expect(await content(target)).toEqual(await content(t.url))
  })

  test('a ledger that a process works on, and a database that is no ledger', async () => {
    const other = await freshLedger()
    target = other.url
    const inUse = await restore('--replace')
    await other.database.close()
    target = await emptyDatabase()
    await query(target, 'create table mine (id int)')
    const foreign = await restore('--replace')

    expect(inUse).toMatchObject({ code: 5 })
    expect(inUse.stderr).toContain('agentbus-test')
    expect(foreign).toMatchObject({ code: 5 })
    expect(foreign.stderr).toContain('no ledger of agentbus')
    expect(await query(target, 'select * from mine')).toEqual([])
  })

  test('a ledger beside which somebody keeps a table: it would be dropped with the ledger', async () => {
    const other = await freshLedger()
    target = other.url
    await other.database.close()
    await query(target, `create table notes as select 'mine' as text`)

    const refused = await restore('--replace')

    expect(refused).toMatchObject({ code: 5 })
    expect(refused.stderr).toContain('tables that are not of agentbus: notes')
    expect(await query(target, 'select text from notes')).toEqual([{ text: 'mine' }])
    expect(await query(target, 'select id from agents')).toEqual([{ id: 'devops' }])
  })
})

test('a restore that breaks off leaves the ledger that was there', async () => {
  await aJob(t.ledger, 'succeeded')
  await backUp()
  const other = await freshLedger()
  target = other.url
  await aJob(other.ledger, 'cancelled')
  const before = await content(target)
  await other.database.close()
  const manifest = await checkBackup(out())
  // One table is read wrongly after all the others went in.
  const tables = manifest.tables.map((table) => (table.name === 'workflows' ? { ...table, rows: 7 } : table))

  await expect(restoreBackup({ url: target, folder: out(), manifest: { ...manifest, tables }, replace: true })).rejects.toThrow('the manifest says 7')

  expect(await content(target)).toEqual(before)
  expect(kindsOf(await verifyNow(target))).toEqual([])
})

test('what was broken before the backup is named by the restore, with exit code 8', async () => {
  const { id } = await aJob(t.ledger, 'succeeded')
  await tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [id]])
  await backUp()

  const restored = await restore()

  expect(restored.code).toBe(8)
  expect(restored.stdout).toContain(`row_changed: Row 2 of job ${id}`)
})

test('an older backup is brought up to date', async () => {
  await aJob(t.ledger, 'queued')
  await backUp()
  const file = path.join(out(), 'manifest.json')
  const { hash: _hash, ...body } = await readManifest(out())
  // As a build made it that did not know the newest migration, which adds no column.
  await writeFile(file, manifestText({ ...body, migrations: body.migrations.slice(0, -1) }))

  const restored = await restore()

  expect(restored).toMatchObject({ code: 0 })
  expect(await query(target, 'select 1 from system_health_snapshot_v')).toHaveLength(1)
  expect(await query(target, 'select hash from drizzle.__drizzle_migrations')).toHaveLength(body.migrations.length)
})

test('a restored ledger starts no queue entry of before, and rebuilds the queues', async () => {
  const { id, job } = await aJob(t.ledger, 'queued')
  await t.database.pool.query(`insert into queue_epochs (epoch) values (gen_random_uuid())`)
  await backUp()
  await restore()
  const { ledger, database } = ledgerAt(target)

  const stale = await leaseAs(ledger, id, job.generation)
  const newer = await leaseAs(ledger, id, job.generation + 7)

  expect([stale, newer]).toMatchObject([{ kind: 'skip' }, { kind: 'skip' }])
  expect(await query(target, 'select 1 from queue_epochs')).toEqual([])
  await database.close()
})

test('a ledger restored into another cluster, whose transactions count from lower numbers, goes on with checkpoints', async () => {
  const cluster = await ownPostgres({ prepared: inject('preparedPostgres') })
  try {
    await advanceTransactions(t.url, (await transactionOf(cluster.url)) + 5_000n)
    await aLedgerWithEverything()
    await backUp()
    target = cluster.url

    const restored = await restore()
    const { ledger, database } = ledgerAt(target)
    const { id } = await aJob(ledger, 'succeeded')
    const { rows: before } = await database.pool.query<{ n: number }>('select max(seq)::int as n from audit_checkpoints')
    const taken = await takeCheckpoint(database.db, { signer: undefined })
    await tamper(target, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [id]])

    expect(restored).toMatchObject({ code: 0, stderr: '' })
    expect(restored.stdout).toMatch(/^\d+:[0-9a-f]{64} .*after a restore; \d+ rows of other histories$/m)
    expect(taken).toMatchObject({ kind: 'taken', checkpoint: { seq: (before[0]?.n ?? 0) + 1 } })
    expect(kindsOf(await verifyNow(target))).toEqual(['chains/row_changed'])
    await database.close()
  } finally {
    await cluster.stop()
  }
})

test('a restore into a cluster without the role of auditors makes it and opens the ledger to it, or says what to do', async () => {
  const cluster = await ownPostgres({ prepared: inject('preparedPostgres') })
  const at = (database: string, user?: string): string => {
    const url = new URL(cluster.url)
    url.pathname = `/${database}`
    if (user !== undefined) [url.username, url.password] = [user, 'x']
    return url.toString()
  }
  const dropAuditors = async (grantedIn: string): Promise<void> => {
    await query(grantedIn, 'drop owned by agentbus_auditor')
    await query(cluster.url, 'drop role agentbus_auditor')
  }
  const mayRead = async (): Promise<boolean | undefined> =>
    (await query<{ may: boolean }>(target, `select has_table_privilege('agentbus_auditor', 'job_transitions', 'select') as may`))[0]?.may
  try {
    await aJob(t.ledger, 'succeeded')
    await backUp()
    await dropAuditors(cluster.url)
    await query(cluster.url, 'create database ours')
    target = at('ours')
    const made = await restore()
    const readable = [await mayRead()]

    await dropAuditors(target)
    await query(cluster.url, `create role plain login password 'x'`)
    await query(cluster.url, 'create database theirs owner plain')
    target = at('theirs', 'plain')
    const without = await restore()
    await query(cluster.url, 'create role agentbus_auditor nologin')
    readable.push(await mayRead())
    const migrated = await cli(['migrate'], { DATABASE_URL: target })
    readable.push(await mayRead())

    expect([made, without, migrated]).toMatchObject([{ code: 0 }, { code: 0 }, { code: 0 }])
    expect([made, without, migrated].map(({ stdout }) => stdout.includes('create role agentbus_auditor nologin'))).toEqual([false, true, false])
    expect(readable).toEqual([true, false, true])
  } finally {
    await cluster.stop()
  }
})

describe('with the key that checkpoints are signed with,', () => {
  const aKey = (): string => generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const [ours, theirs] = [aKey(), aKey()]
  const env = { AGENTBUS_SIGNING_KEY: 'env:THE_KEY', THE_KEY: ours }

  test('a restore and a drill find that somebody else has signed, unless that key is named too', async () => {
    await aJob(t.ledger, 'succeeded')
    await coverAll(t, { signer: signerOf(theirs) })
    await backUp()
    const file = path.join(folder, 'theirs.pem')
    await writeFile(file, signerOf(theirs).publicKeyPem)

    const foreign = await cli(['restore', '--from', out()], { ...env, DATABASE_URL: target })
    const drilled = await cli(['restore', '--from', out(), '--drill'], env)
    const named = await cli(['restore', '--from', out(), '--replace', '--public-key', file], { ...env, DATABASE_URL: target })
    const missing = await cli(['restore', '--from', out(), '--replace', '--public-key', path.join(folder, 'none.pem')], { ...env, DATABASE_URL: target })

    for (const ran of [foreign, drilled]) expect(ran).toMatchObject({ code: 8, stdout: expect.stringContaining('signature_of_unknown_key') as string })
    expect(named).toMatchObject({ code: 0, stdout: expect.stringContaining('signatures checked') as string })
    expect(missing).toMatchObject({ code: 2, stdout: '' })
  })

  test('a restore into another cluster, which signs its own record, finds that the backup is not signed', async () => {
    const cluster = await ownPostgres({ prepared: inject('preparedPostgres') })
    try {
      await advanceTransactions(t.url, (await transactionOf(cluster.url)) + 5_000n)
      await aJob(t.ledger, 'succeeded')
      await coverAll(t)
      await backUp()

      const restored = await cli(['restore', '--from', out()], { ...env, DATABASE_URL: cluster.url })

      expect(restored.stdout).toMatch(/^\d+:[0-9a-f]{64} .*after a restore; \d+ rows of other histories$/m)
      expect(restored).toMatchObject({ code: 8, stdout: expect.stringMatching(/signature_missing: Checkpoint [0-9]+, the newest of the backup, is not signed/) as string })
    } finally {
      await cluster.stop()
    }
  })
})

describe('a drill', () => {
  test.each(['redis', 'postgres'] as const)('on %s restores, verifies and rebuilds the queues, and leaves nothing', async (backend) => {
    for (const status of ['queued', 'queued', 'running', 'succeeded', 'blocked'] as const) await aJob(t.ledger, status)
    await coverAll(t)
    await backUp()
    const before = await content(t.url)

    const ran = await cli(['restore', '--from', out(), '--drill'], { AGENTBUS_QUEUE_BACKEND: backend, ...(backend === 'redis' ? { REDIS_URL: inject('redisUrl') } : {}) })

    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/^ok {11}chains/m)
    expect(ran.stdout).toMatch(/^ok {11}queues/m)
    expect(ran.stdout).toMatch(/rebuilt under the prefix agentbus_drill_[0-9a-f]{12}: 3 jobs/)
    const name = /agentbus_drill_[0-9a-f]{12}/.exec(ran.stdout)?.[0] ?? ''
    expect(await query(t.url, 'select 1 from pg_database where datname = $1', [name])).toEqual([])
    const redis = new Redis(inject('redisUrl'))
    expect(await redis.keys(`${name}*`)).toEqual([])
    redis.disconnect()
    expect(await content(t.url)).toEqual(before)
  })

  test('names what does not hold, with exit code 8, and cleans up all the same', async () => {
    const { id } = await aJob(t.ledger, 'succeeded')
    await tamper(t.url, [`update job_transitions set note = 'x' where job_id = $1 and seq = 2`, [id]])
    await backUp()

    const ran = await cli(['restore', '--from', out(), '--drill'])

    expect(ran.code).toBe(8)
    expect(ran.stdout).toContain('The scratch database and its queues are removed.')
  })
})
