import pg from 'pg'
import { onCleanup } from '../embedded/processes.js'

export interface IdleWriter {
  /** When its transaction began, by the clock of PostgreSQL. */
  readonly since: string
  /** Ends the transaction. */
  end(): Promise<void>
}

/** A session of somebody else's that writes attempts and is then idle in its transaction. */
export async function anIdleWriter(url: string): Promise<IdleWriter> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  onCleanup(() => client.end())
  await client.query('begin')
  await client.query('update job_attempts set error = error where false')
  const { rows } = await client.query<{ at: string }>(`select to_jsonb(now()) #>> '{}' as at`)
  return {
    since: new Date(rows[0]?.at ?? '').toISOString(),
    async end() {
      await client.query('rollback')
    },
  }
}
