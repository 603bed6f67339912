import { Redis } from 'ioredis'
import pg from 'pg'
import type { Stores } from '../../cli/stores.js'

/** What happens when a queue store loses its content. Redis is shared by all test files: only what stands under the prefix is lost. */
export async function wipeQueues({ queue, prefix }: { readonly queue: Stores['queue']; readonly prefix: string }): Promise<void> {
  if (queue.kind === 'redis') {
    const redis = new Redis(queue.url)
    const keys = await redis.keys(`${prefix}:*`)
    if (keys.length > 0) await redis.del(...keys)
    redis.disconnect()
    return
  }
  const client = new pg.Client({ connectionString: queue.url })
  await client.connect()
  const { rows } = await client.query<{ name: string }>(`select quote_ident(tablename) as name from pg_tables where schemaname = 'bullmq' and tablename not like '%migration%'`)
  await client.query(`set search_path = bullmq; truncate ${rows.map(({ name }) => name).join(', ')}`)
  await client.end()
}
