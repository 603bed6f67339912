import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import pg from 'pg'
import { run, startLiveBus, type LiveBus, type Ran } from './live-bus.js'

/** Takes down what a proof shows: each command with its output and its exit code. */
export interface Account {
  /** A sentence about what comes next. */
  tell(text: string): void
  /** A command as a reader would type it, what it said, and the exit code that the proof needs. */
  ran(command: string, ran: Ran, wanted: number): void
  /** What has to be in the output of a command. */
  needs(what: string, holds: boolean): void
}

/** Work on the bus: a job done at once, one with a hand-off and a failed try, one that fails; and so many more that are done at once. */
async function fill(bus: LiveBus, plain = 4): Promise<string[]> {
  const followUp = { target_agent: 'devops', subject: 'write it up', payload: { simulate: {} } }
  const scripts = [{}, { fail_times: 1, retry_seconds: 0, follow_ups: [followUp] }, { outcome: 'fail' }, ...Array.from({ length: plain }, () => ({}))]
  const ids: string[] = []
  for (const [at, simulate] of scripts.entries()) {
    const args = ['enqueue-job', '--target-agent', 'devops', '--subject', `proof ${at + 1}`, '--correlation-key', 'proof', '--payload', JSON.stringify({ simulate }), '--json']
    const { code, output } = await bus.agentbus(...args)
    if (code !== 0) throw new Error(`the bus took no job: ${output}`)
    ids.push((JSON.parse(output) as { id: string }).id)
  }
  await settle(bus)
  return ids
}

async function settle(bus: LiveBus): Promise<void> {
  await inLedger(bus, async (client) => {
    for (let open = 1; open > 0;) {
      const { rows } = await client.query<{ n: number }>('select (select count(*) from jobs where finished_at is null)::int + (select count(*) from outbox)::int as n')
      open = rows[0]?.n ?? 0
      if (open > 0) await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })
}

async function inLedger<T>(bus: LiveBus, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: bus.databaseUrl })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

async function withBus(work: (bus: LiveBus) => Promise<void>): Promise<void> {
  // Checkpoints are taken when a proof asks for them.
  const bus = await startLiveBus({ AGENTBUS_CHECKPOINT_SECONDS: '0' })
  try {
    await work(bus)
  } finally {
    await bus.stop()
  }
}

const show = async (account: Account, bus: LiveBus, wanted: number, ...args: string[]): Promise<string> => {
  const ran = await bus.agentbus(...args)
  account.ran(`agentbus ${args.join(' ')}`, ran, wanted)
  return ran.output
}

export function verifyClean(account: Account): Promise<void> {
  return withBus(async (bus) => {
    await fill(bus)
    await show(account, bus, 0, 'checkpoint')
    const said = await show(account, bus, 0, 'verify')
    account.needs('no check is violated or left out', !/VIOLATED|NOT CHECKED/.test(said))
  })
}

/** What somebody with all rights over the database does, each to a job of its own, and how verify says it. It shows the first of each kind. */
const CRIMES: readonly { readonly says: string; readonly what: string; readonly sql: readonly string[] }[] = [
  { says: 'row_changed', what: 'one word of a row is changed', sql: [`update job_transitions set note = 'nothing happened here' where job_id = $1 and seq = 2`] },
  { says: 'rows_missing', what: 'a row is deleted', sql: ['delete from job_transitions where job_id = $1 and seq = 2'] },
  {
    says: 'row_inserted',
    what: 'a row is put in',
    sql: [
      'update job_transitions set seq = seq + 100 where job_id = $1 and seq > 2',
      `insert into job_transitions (job_id, seq, kind, from_status, to_status, reason, actor_kind, actor, prev_hash, hash)
       select job_id, 3, 'note', to_status, to_status, 'progress', 'worker', 'nobody', '\\x00', '\\x00' from job_transitions where job_id = $1 and seq = 2`,
      'update job_transitions set seq = seq - 99 where job_id = $1 and seq > 100',
    ],
  },
  {
    says: 'rows_reordered',
    what: 'two rows change places',
    sql: [
      'update job_transitions set seq = 99 where job_id = $1 and seq = 2',
      'update job_transitions set seq = 2 where job_id = $1 and seq = 3',
      'update job_transitions set seq = 3 where job_id = $1 and seq = 99',
    ],
  },
  {
    says: 'tail_cut_off',
    what: 'the last row is cut off',
    sql: ['delete from job_transitions where job_id = $1 and seq = (select max(seq) from job_transitions where job_id = $1)'],
  },
  {
    says: 'job_deleted',
    what: 'a job is deleted with all its rows',
    sql: ['delete from job_transitions where job_id = $1', 'delete from job_attempts where job_id = $1', 'delete from jobs where id = $1'],
  },
  { says: 'payload_changed', what: 'the payload of a job is changed', sql: [`update jobs set payload = '{"simulate": {"outcome": "fail"}}' where id = $1`] },
  { says: 'result_changed', what: 'the result of a job is changed', sql: [`update jobs set result = '{"found": "nothing"}' where id = $1`] },
  { says: 'attempt_contradicts_end', what: 'an attempt that succeeded is said to have failed', sql: [`update job_attempts set status = 'failed' where job_id = $1`] },
]

export function verifyTampered(account: Account): Promise<void> {
  return withBus(async (bus) => {
    const ids = await fill(bus, CRIMES.length)
    await show(account, bus, 0, 'checkpoint')
    await inLedger(bus, async (client) => {
      // As the owner of the database, past every guard in it.
      await client.query('set session_replication_role = replica')
      for (const [at, { what, sql }] of CRIMES.entries()) {
        const id = ids.at(at - CRIMES.length) ?? ''
        account.tell(`As the owner of the database, with its guards off: ${what} (job ${id}).`)
        for (const statement of sql) await client.query(statement, [id])
      }
    })
    const said = await show(account, bus, 8, 'verify', '--no-queues')
    for (const { what, says } of CRIMES) account.needs(`${what}: ${says}`, said.includes(says))
  })
}

export function auditExport(account: Account): Promise<void> {
  return withBus(async (bus) => {
    await fill(bus)
    await show(account, bus, 0, 'checkpoint')
    await show(account, bus, 0, 'audit', 'export', '--out', 'bundle')
    // Neither the ledger nor agentbus is there any more: only Node and the folder.
    const check = (): Promise<Ran> => run([process.execPath, path.join('bundle', 'verify-bundle.mjs'), 'bundle'], { PATH: process.env['PATH'] }, bus.folder)
    account.ran('node bundle/verify-bundle.mjs bundle', await check(), 0)
    const file = path.join(bus.folder, 'bundle', 'transitions.jsonl')
    account.tell('One word of the bundle is changed.')
    await writeFile(file, (await readFile(file, 'utf8')).replace('completed_by_agent', 'completed_by_nobody'))
    account.ran('node bundle/verify-bundle.mjs bundle', await check(), 1)
  })
}

export function traceStory(account: Account): Promise<void> {
  return withBus(async (bus) => {
    const from = new Date().toISOString()
    const [, parent = ''] = await fill(bus)
    const story = await show(account, bus, 0, 'trace', '--job-id', parent)
    account.needs('the follow-up is in the story of the job', story.includes('write it up'))
    const agent = await show(account, bus, 0, 'trace', '--agent', 'devops', '--from', from)
    account.needs(
      'what the agent was told, read and did is in its story',
      ['told', 'read', 'did'].every((kind) => agent.includes(kind)),
    )
  })
}
