import pg from 'pg'
import { ADVISORY } from './advisory-locks.js'

/**
 * Opens histories and views to the role `agentbus_auditor`, and makes it where it is missing and this user may. Safe to repeat,
 * and beside other ledgers of the same server that do the same. @returns whether the role is there
 */
export async function openToAuditors(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, application_name: 'agentbus' })
  await client.connect()
  try {
    // Two that grant the same in one database at once get in each other's way.
    await client.query('select pg_advisory_lock($1)', [ADVISORY.auditorRole])
    await client.query(`do $$ begin
        if not exists (select from pg_roles where rolname = 'agentbus_auditor') then create role agentbus_auditor nologin; end if;
      exception when duplicate_object or unique_violation or insufficient_privilege then null; end $$`)
    const { rows } = await client.query<{ there: boolean }>('select grant_auditor() as there')
    return rows[0]?.there === true
  } finally {
    await client.end()
  }
}
