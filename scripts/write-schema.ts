import { mkdtemp, chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { createLogger } from '../config/logger.js'
import { startEmbeddedPostgres } from '../embedded/embedded-postgres.js'
import { migrateLedger } from '../ledger/database.js'

/** Where the dump stands in git. `npm run schema` writes it; a test compares it with the migrated database. */
export const SCHEMA_FILE = 'docs/schema.sql'

/** Everything the migrations have made, read back from PostgreSQL's catalogs, in an order that does not change. */
export async function describeSchema(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const parts: string[] = ['-- The ledger as PostgreSQL holds it after all migrations. Made by `npm run schema`; do not edit.']
    for (const { title, text } of QUERIES) {
      const { rows } = await client.query<{ line: string }>(text)
      parts.push(`-- ${title}\n\n${rows.map((row) => row.line.trim()).join('\n')}`)
    }
    return `${parts.join('\n\n')}\n`
  } finally {
    await client.end()
  }
}

const QUERIES = [
  {
    title: 'types',
    text: `select 'create type ' || t.typname || ' as enum (' || string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) || ');' as line
      from pg_type t join pg_enum e on e.enumtypid = t.oid where t.typnamespace = 'public'::regnamespace group by t.typname order by t.typname`,
  },
  {
    title: 'tables',
    text: `select 'create table ' || c.relname || E' (\\n' || string_agg('  ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
          || case when a.attnotnull then ' not null' else '' end
          || case when a.attidentity <> '' then ' generated always as identity' else '' end
          || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''), E',\\n' order by a.attnum) || E'\\n);' as line
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
      where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' group by c.relname order by c.relname`,
  },
  {
    title: 'constraints',
    text: `select 'alter table ' || conrelid::regclass || ' add constraint ' || conname || ' ' || pg_get_constraintdef(oid) || ';' as line
      from pg_constraint where connamespace = 'public'::regnamespace and conrelid <> 0 and contype in ('c', 'f', 'p', 'u') order by conrelid::regclass::text, contype, conname`,
  },
  {
    title: 'indexes',
    text: `select indexdef || ';' as line from pg_indexes i where schemaname = 'public'
        and not exists (select from pg_constraint where conname = i.indexname) order by tablename, indexname`,
  },
  {
    title: 'functions',
    text: `select pg_get_functiondef(oid) || ';' as line from pg_proc where pronamespace = 'public'::regnamespace order by proname`,
  },
  {
    title: 'triggers',
    text: `select pg_get_triggerdef(t.oid) || ';' as line from pg_trigger t join pg_class c on c.oid = t.tgrelid
      where not t.tgisinternal and c.relnamespace = 'public'::regnamespace order by c.relname, t.tgname`,
  },
  {
    title: 'views',
    text: `select 'create view ' || viewname || E' as\\n' || definition as line from pg_views where schemaname = 'public' order by viewname`,
  },
]

if (process.argv[1]?.endsWith('write-schema.ts') === true) {
  const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-schema-'))
  await chmod(folder, 0o755)
  const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'data'), log: createLogger({ level: 'error', pretty: false }) })
  try {
    await migrateLedger(postgres.url)
    const text = await describeSchema(postgres.url)
    if (!process.argv.includes('--check')) await writeFile(SCHEMA_FILE, text)
    else if ((await readFile(SCHEMA_FILE, 'utf8')) !== text) throw new Error(`${SCHEMA_FILE} is out of date: run npm run schema`)
  } finally {
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}
