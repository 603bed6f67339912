import pg from 'pg'

interface Kept {
  readonly tables: readonly { readonly name: string; readonly rows: string | null }[]
  readonly sequences: readonly { readonly name: string; readonly value: string | null }[]
}

/** All rows of a ledger and where its sequences stand, as a dump has them: logical, without anything of the cluster. */
export async function dumpLedger(url: string): Promise<Kept> {
  return withClient(url, async (client) => {
    const names = await client.query<{ name: string }>(`select quote_ident(relname) as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`)
    const tables: { name: string; rows: string | null }[] = []
    for (const { name } of names.rows) {
      const { rows } = await client.query<{ rows: string | null }>(`select json_agg(t)::text as rows from ${name} t`)
      tables.push({ name, rows: rows[0]?.rows ?? null })
    }
    const { rows } = await client.query<{ name: string; value: string | null }>(
      `select quote_ident(sequencename) as name, last_value::text as value from pg_sequences where schemaname = 'public'`,
    )
    return { tables, sequences: rows }
  })
}

/** Puts a dump into a migrated ledger of another cluster, as pg_restore does: rows as they were, and nothing checked or computed. */
export async function restoreLedger(url: string, { tables, sequences }: Kept, options: { readonly sequences?: boolean } = {}): Promise<void> {
  await withClient(url, async (client) => {
    await client.query('begin; set local session_replication_role = replica')
    await client.query(`truncate ${tables.map(({ name }) => name).join(', ')}`)
    for (const { name, rows } of tables) {
      if (rows !== null) await client.query(`insert into ${name} overriding system value select * from json_populate_recordset(null::${name}, $1::json)`, [rows])
    }
    if (options.sequences !== false) for (const { name, value } of sequences) if (value !== null) await client.query(`select setval($1::regclass, $2::bigint)`, [name, value])
    await client.query('commit')
  })
}

/** Uses up transaction numbers, so that this cluster is ahead of another one. */
export async function advanceTransactions(url: string, to: bigint): Promise<void> {
  await withClient(url, async (client) => {
    await client.query('set synchronous_commit = off')
    await client.query(`do $$ begin while pg_current_xact_id()::text::bigint < ${to} loop commit; end loop; end $$`)
  })
}

/** The number that the next transaction of a cluster gets, about. */
export async function transactionOf(url: string): Promise<bigint> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ xact: string }>('select pg_current_xact_id()::text as xact')
    return BigInt(rows[0]?.xact ?? 0)
  })
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
