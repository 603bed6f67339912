import { drizzle } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import type { Db } from '../database.js'
import * as schema from '../schema/index.js'

/** One connection that cannot write and is never cut short: a check over a large history takes what it takes. */
export interface Reader {
  readonly client: pg.Client
  readonly db: Db
  close(): Promise<void>
}

/** Opens the connection that verification reads through. */
export async function openReader(url: string): Promise<Reader> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'agentbus-verify',
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    options: '-c timezone=UTC -c default_transaction_read_only=on -c statement_timeout=0 -c idle_in_transaction_session_timeout=0',
  })
  client.on('error', () => undefined)
  await client.connect()
  return { client, db: drizzle(client, { schema }), close: () => client.end() }
}
