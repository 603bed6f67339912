import { createReadStream } from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import type pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { AgentbusError } from '../../contracts/errors.js'
import { connectForCopy } from './connection.js'
import type { Manifest } from './manifest.js'
import { applyMigrations, dropLedger, foreignTables, migrationsFor, takeDown } from './scaffold.js'

export interface RestoreOptions {
  readonly url: string
  readonly folder: string
  /** As {@link checkBackup} has read it. */
  readonly manifest: Manifest
  /** Restore even when the database holds a ledger with something in it; that ledger is gone then. */
  readonly replace: boolean
  readonly onTable?: (table: { readonly name: string; readonly rows: number }) => void
}

export interface Restored {
  readonly rows: number
  /** Whether this cluster numbers transactions below those of the backup, so that a new era has to begin. */
  readonly countsAnew: boolean
}

/** Queue entries that were made after the backup have a generation below this step; no worker starts one. */
const GENERATION_STEP = 1_000

/**
 * Puts a backup into a database, in one transaction: it is there whole, or nothing was changed. Brings the schema of an older
 * backup up to date. The queue store's epoch is forgotten, so that the first process rebuilds every queue from the ledger.
 * @throws AgentbusError AGENTBUS_BACKUP, AGENTBUS_NOT_EMPTY, AGENTBUS_IN_USE
 */
export async function restoreBackup(options: RestoreOptions): Promise<Restored> {
  const { manifest } = options
  const migrations = migrationsFor(manifest.migrations)
  const client = await connectForCopy(options.url)
  try {
    await client.query('begin')
    await client.query(`set local maintenance_work_mem = '256MB'`)
    await refuseOthers(client)
    await clear(client, options.replace)
    await applyMigrations(client, migrations.before)
    const putUp = await takeDown(client)
    for (const table of manifest.tables) {
      await copyIn(client, options.folder, table)
      options.onTable?.(table)
    }
    await client.query('truncate queue_epochs, outbox, dispatcher_heartbeats')
    await client.query('update jobs set generation = generation + $1 where finished_at is null', [GENERATION_STEP])
    for (const { table, column, last_value } of manifest.sequences) {
      await client.query('select setval(pg_get_serial_sequence($1, $2), $3::bigint)', [`public.${table}`, column, last_value])
    }
    await putUp()
    await applyMigrations(client, migrations.after)
    await client.query(`insert into observations (kind, code, actor_kind, actor, detail, details) values ('operator_action', 'restored', 'operator', 'agentbus restore', $1, $2)`, [
      `The ledger was restored from a backup of ${manifest.made_at}; what was written after it is not here.`,
      { made_at: manifest.made_at, manifest: manifest.hash },
    ])
    const { rows } = await client.query<{ anew: boolean }>('select pg_snapshot_xmin(pg_current_snapshot()) < $1::text::xid8 as anew', [manifest.xact])
    await client.query('commit')
    await client.query('analyze')
    return { rows: manifest.tables.reduce((sum, table) => sum + table.rows, 0), countsAnew: rows[0]?.anew === true }
  } finally {
    await client.end()
  }
}

/** A process that works on the ledger while it is exchanged would mix the two. */
async function refuseOthers(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ name: string; n: number }>(
    `select application_name as name, count(*)::int as n from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name like 'agentbus%' group by 1 order by 1`,
  )
  if (rows.length === 0) return
  const who = rows.map(({ name, n }) => `${name} (${n})`).join(', ')
  throw new AgentbusError('AGENTBUS_IN_USE', `Others are connected to this database: ${who}. Nothing was changed.`)
}

async function clear(client: pg.Client, replace: boolean): Promise<void> {
  const { rows } = await client.query<{ tables: number; ledger: boolean }>(`
    select count(*)::int as tables, to_regclass('public.job_transitions') is not null and to_regclass('drizzle.__drizzle_migrations') is not null as ledger
    from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'`)
  const found = rows[0]
  if (found === undefined || found.tables === 0) {
    await client.query('drop schema if exists drizzle cascade')
    return
  }
  if (!found.ledger) {
    throw new AgentbusError(
      'AGENTBUS_NOT_EMPTY',
      `The database holds ${found.tables} tables that are no ledger of agentbus. Nothing was changed: restore into a database of its own.`,
    )
  }
  const { rows: held } = await client.query<{ filled: boolean }>(
    'select exists (select from jobs) or exists (select from agents) or exists (select from events) or exists (select from api_tokens) as filled',
  )
  if (held[0]?.filled === true && !replace) {
    throw new AgentbusError(
      'AGENTBUS_NOT_EMPTY',
      'The database holds a ledger with something in it. Nothing was changed; --replace drops that ledger and restores the backup in its place.',
    )
  }
  const foreign = await foreignTables(client)
  if (foreign.length > 0) {
    throw new AgentbusError(
      'AGENTBUS_NOT_EMPTY',
      `Beside the ledger the database holds tables that are not of agentbus: ${foreign.join(', ')}. Nothing was changed: move them, or restore into a database of its own.`,
    )
  }
  await dropLedger(client)
}

async function copyIn(client: pg.Client, folder: string, table: Manifest['tables'][number]): Promise<void> {
  const target = client.query(copyFrom(`copy public.${table.name} (${table.columns.join(', ')}) from stdin`))
  await pipeline(createReadStream(path.join(folder, table.file)), createGunzip(), target)
  if (target.rowCount !== table.rows)
    throw new AgentbusError('AGENTBUS_BACKUP', `${table.file} of the backup holds ${target.rowCount} rows, the manifest says ${table.rows}. Nothing was changed.`)
}
