import pg from 'pg'

/** A connection of its own that is never cut short, with every setting fixed that the text of a value depends on. */
export async function connectForCopy(url: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'agentbus-backup',
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    options:
      '-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=3 -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=10000',
  })
  client.on('error', () => undefined)
  await client.connect()
  return client
}
