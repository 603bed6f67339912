import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { createPostgresBackend } from '../../queues/postgres-backend.js'
import { cloneDatabase } from '../support/ledger.js'

/** What the commit of an entry does, as a trigger on BullMQ's own table sees it. */
async function settingDuring(durable: boolean): Promise<unknown> {
  const url = await cloneDatabase()
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  onTestFinished(() => client.end())
  await client.query(`create table seen (setting text)`)
  await client.query(
    `create function note() returns trigger language plpgsql as $$ begin insert into public.seen values (current_setting('synchronous_commit')); return new; end $$`,
  )
  await client.query(`create trigger note before insert on bullmq.job for each row execute function note()`)
  const backend = createPostgresBackend({ url, poolSize: 3, durable, onError: () => undefined })
  onTestFinished(() => backend.close())
  const queue = backend.openQueue('agent-x')
  onTestFinished(() => queue.close())
  await queue.add('work', {}, {})
  return (await client.query('select setting from seen')).rows
}

test('an entry of a bus does not wait for the disk: the ledger knows its job', async () => {
  expect(await settingDuring(false)).toEqual([{ setting: 'off' }])
})

test('an entry that nobody else knows of does, as in the benchmark of the bare queue', async () => {
  expect(await settingDuring(true)).toEqual([{ setting: 'on' }])
})
