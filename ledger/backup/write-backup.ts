import { createHash } from 'node:crypto'
import { createWriteStream, existsSync } from 'node:fs'
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type pg from 'pg'
import { to as copyTo } from 'pg-copy-streams'
import { AgentbusError } from '../../contracts/errors.js'
import { connectForCopy } from './connection.js'
import { LEDGER_TABLES } from './ledger-tables.js'
import { FORMAT, MANIFEST, manifestText, type Manifest, type ManifestBody } from './manifest.js'

type Table = Manifest['tables'][number]

export interface BackupOptions {
  readonly url: string
  readonly folder: string
  readonly nowMs: number
  readonly onTable?: (table: Table) => void
}

/**
 * Writes the whole ledger, as it is at one moment, into a new folder that only its owner may read. The bus may go on writing
 * meanwhile. What is written is streamed; the folder gets its name when everything in it is on disk.
 * @throws AgentbusError AGENTBUS_BACKUP when the folder is there; what was begun is removed when anything fails
 */
export async function writeBackup(options: BackupOptions): Promise<ManifestBody> {
  const folder = path.resolve(options.folder)
  if (existsSync(folder)) throw new AgentbusError('AGENTBUS_BACKUP', `${options.folder} is there already: a backup gets a folder of its own, and none is overwritten.`)
  const draft = `${folder}.partial-${process.pid}`
  await mkdir(path.dirname(folder), { recursive: true })
  await rm(draft, { recursive: true, force: true })
  await mkdir(draft, { mode: 0o700 })
  try {
    const body = await fill(draft, options)
    await writeFile(path.join(draft, MANIFEST), manifestText(body), { mode: 0o600, flush: true })
    await flush(draft)
    await rename(draft, folder)
    await flush(path.dirname(folder))
    return body
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    throw error
  }
}

async function fill(draft: string, options: BackupOptions): Promise<ManifestBody> {
  const client = await connectForCopy(options.url)
  try {
    // One snapshot for all tables: what commits from here on is not in the backup, and nothing is in it by half.
    await client.query('begin isolation level repeatable read read only')
    const about = await one<{ postgres: string; xact: string }>(
      client,
      `select current_setting('server_version') as postgres, pg_snapshot_xmax(pg_current_snapshot())::text as xact`,
    )
    const { rows: migrations } = await client.query<{ hash: string }>('select hash from drizzle.__drizzle_migrations order by created_at, id')
    const tables: Table[] = []
    for (const { name, columns } of await tablesOf(client)) {
      const table = await copyOut(client, draft, name, columns)
      tables.push(table)
      options.onTable?.(table)
    }
    return {
      format: FORMAT,
      made_at: new Date(options.nowMs).toISOString(),
      ...about,
      migrations: migrations.map(({ hash }) => hash),
      tables,
      sequences: await sequencesOf(client),
    }
  } finally {
    await client.end()
  }
}

async function one<T extends pg.QueryResultRow>(client: pg.Client, text: string): Promise<T> {
  const { rows } = await client.query<T>(text)
  if (rows[0] === undefined) throw new Error('a row of constants is missing')
  return rows[0]
}

async function tablesOf(client: pg.Client): Promise<{ readonly name: string; readonly columns: readonly string[] }[]> {
  const { rows } = await client.query<{ name: string; columns: string[] }>(
    `select c.relname as name, array_agg(a.attname::text order by a.attnum) as columns
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname::text = any($1::text[]) group by c.relname order by c.relname`,
    [LEDGER_TABLES],
  )
  return rows
}

async function sequencesOf(client: pg.Client): Promise<Manifest['sequences']> {
  const { rows } = await client.query<Manifest['sequences'][number]>(
    `select c.relname as "table", a.attname as "column", s.last_value::text as last_value
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attidentity <> ''
      join pg_sequences s on quote_ident(s.schemaname) || '.' || quote_ident(s.sequencename) = pg_get_serial_sequence(c.oid::regclass::text, a.attname)
    where c.relnamespace = 'public'::regnamespace and c.relname::text = any($1::text[]) and s.last_value is not null order by 1, 2`,
    [LEDGER_TABLES],
  )
  return rows
}

async function copyOut(client: pg.Client, folder: string, name: string, columns: readonly string[]): Promise<Table> {
  const file = `${name}.copy.gz`
  const hash = createHash('sha256')
  let bytes = 0
  const measured = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      hash.update(chunk)
      bytes += chunk.length
      done(null, chunk)
    },
  })
  const source = client.query(copyTo(`copy (select ${columns.join(', ')} from public.${name}) to stdout`))
  await pipeline(source, createGzip({ level: 5 }), measured, createWriteStream(path.join(folder, file), { mode: 0o600, flush: true }))
  return { name, columns: [...columns], file, rows: source.rowCount, bytes, sha256: hash.digest('hex') }
}

/** Makes the entries of a folder durable. */
async function flush(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
