import { readMigrationFiles } from 'drizzle-orm/migrator'
import type pg from 'pg'
import { AgentbusError } from '../../contracts/errors.js'
import { migrationsFolder } from '../database.js'
import { LEDGER_TABLES } from './ledger-tables.js'

interface Migration {
  readonly hash: string
  readonly createdAt: number
  readonly statements: readonly string[]
}

/** The migrations of this build, oldest first, by the hashes that drizzle records. */
function knownMigrations(): Migration[] {
  return readMigrationFiles({ migrationsFolder: migrationsFolder() }).map(({ hash, folderMillis, sql }) => ({ hash, createdAt: folderMillis, statements: sql }))
}

/** Those the backup has, and those that came after it. @throws AgentbusError AGENTBUS_BACKUP when it has others than this build */
export function migrationsFor(had: readonly string[]): { readonly before: readonly Migration[]; readonly after: readonly Migration[] } {
  const known = knownMigrations()
  const differs = had.findIndex((hash, at) => known[at]?.hash !== hash)
  if (differs >= 0) {
    const more = had.length > known.length
    throw new AgentbusError(
      'AGENTBUS_BACKUP',
      more
        ? `The backup has ${had.length} migrations, this build knows ${known.length}: restore it with the build that made it, or a newer one.`
        : `Migration ${differs + 1} of the backup is not the one of this build: it was made by another line of agentbus.`,
    )
  }
  return { before: known.slice(0, had.length), after: known.slice(had.length) }
}

/** Runs migrations inside the transaction of the caller and records them as drizzle does. */
export async function applyMigrations(client: pg.Client, migrations: readonly Migration[]): Promise<void> {
  await client.query('create schema if not exists drizzle')
  await client.query('create table if not exists drizzle.__drizzle_migrations (id serial primary key, hash text not null, created_at bigint)')
  for (const { hash, createdAt, statements } of migrations) {
    for (const statement of statements) await client.query(statement)
    await client.query('insert into drizzle.__drizzle_migrations (hash, created_at) values ($1, $2)', [hash, createdAt])
  }
}

/** Tables that somebody else has put beside a ledger. Of one that is newer than this build none is named: which are its own nobody here knows. */
export async function foreignTables(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select relname as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' and relname::text <> all($1::text[]) and (select count(*) from drizzle.__drizzle_migrations) <= $2 order by 1`,
    [LEDGER_TABLES, knownMigrations().length],
  )
  return rows.map(({ name }) => name)
}

/** Removes everything that migrations have made, in the transaction of the caller. */
export async function dropLedger(client: pg.Client): Promise<void> {
  await run(client, `select format('drop table %s cascade', oid::regclass) as text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'`)
  await run(client, `select format('drop routine %s cascade', oid::regprocedure) as text from pg_proc where pronamespace = 'public'::regnamespace and ${NO_EXTENSION('pg_proc')}`)
  await run(
    client,
    `select format('drop type %s cascade', oid::regtype) as text from pg_type where typnamespace = 'public'::regnamespace and typtype = 'e' and ${NO_EXTENSION('pg_type')}`,
  )
  await client.query('drop schema if exists drizzle cascade')
}

const NO_EXTENSION = (catalog: string): string => `not exists (select from pg_depend d where d.classid = '${catalog}'::regclass and d.objid = ${catalog}.oid and d.deptype = 'e')`

/**
 * Takes down what checks and computes: foreign keys, indexes and triggers. Rows then go in as they were, and a foreign key may
 * point to a row that comes later. @returns what puts all of it up again; every row is checked then
 */
export async function takeDown(client: pg.Client): Promise<() => Promise<void>> {
  const keys = await texts(
    client,
    `select format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) as text
    from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace order by conrelid::regclass::text, conname`,
  )
  const indexes = await texts(client, `select indexdef as text from pg_indexes i where schemaname = 'public' and ${NO_CONSTRAINT} order by tablename, indexname`)
  const enable = await texts(
    client,
    `select format('alter table %s enable trigger user', oid::regclass) as text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'`,
  )
  await run(
    client,
    `select format('alter table %s drop constraint %I', conrelid::regclass, conname) as text from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace`,
  )
  await run(client, `select format('drop index public.%I', indexname) as text from pg_indexes i where schemaname = 'public' and ${NO_CONSTRAINT}`)
  await run(client, `select format('alter table %s disable trigger user', oid::regclass) as text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'`)
  return async () => {
    for (const text of [...indexes, ...keys, ...enable]) await client.query(text)
  }
}

const NO_CONSTRAINT = `not exists (select from pg_constraint where conname = i.indexname and connamespace = 'public'::regnamespace)`

async function texts(client: pg.Client, query: string): Promise<string[]> {
  const { rows } = await client.query<{ text: string }>(query)
  return rows.map(({ text }) => text)
}

/** Runs each statement that a query gives. */
async function run(client: pg.Client, query: string): Promise<void> {
  for (const text of await texts(client, query)) await client.query(text)
}
