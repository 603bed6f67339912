import pg from 'pg'
import { beforeAll, expect, test, vi } from 'vitest'
import { ListIdeasQuery } from '../../contracts/ideas.js'
import { ListMemoriesQuery, ListMemoryCandidatesQuery } from '../../contracts/memories.js'
import { ListOpportunitiesQuery } from '../../contracts/opportunities.js'
import type { Ledger } from '../../ledger/ledger.js'
import { freshLedger, ledgerAt, OPERATOR, type TestLedger } from '../support/ledger.js'

const TABLES = ['ideas', 'opportunities', 'memory_candidates', 'memories']
const ROWS = 20_000
/** One row in a hundred is what a list asks for: enough to fill several pages, and too few to be met by going through all of them. */
const RARE = 100

let t: TestLedger
beforeAll(async () => {
  t = await freshLedger()
  await fill(t)
  await t.database.close()
}, 120_000)

async function fill({ database }: TestLedger): Promise<void> {
  const client = await database.pool.connect()
  const made = `(select n, n % ${RARE} = 0 as rare from generate_series(1, ${ROWS}) n) made`
  const place = `case when rare then 'rare' else 'default' end`
  await client.query('set session_replication_role = replica')
  await client.query(`
    insert into ideas (id, namespace, theme, title, body, status, last_seq, created_by)
    select gen_random_uuid(), ${place}, ${place}, 't', 'b', (case when rare then 'reviewed' else 'new' end)::idea_status, case when rare then 2 else 1 end, 'x' from ${made}`)
  await client.query(`
    insert into opportunities (id, namespace, theme, title, why_now, impact_score, confidence_score, urgency_score, reversibility, suggested_next_step, status, last_seq,
      created_by, triaged_by, triaged_at)
    select gen_random_uuid(), ${place}, ${place}, 't', 'w', 3, 3, 3, 'high', 's', (case when rare then 'accepted' when n % 2 = 0 then 'rejected' else 'parked' end)::opportunity_status, 2,
      'x', 'x', now() from ${made}`)
  await client.query(`
    insert into memory_candidates (id, namespace, candidate_kind, scope, subject_key, title, body, confidence_score, status, last_seq, created_by, reviewer)
    select gen_random_uuid(), ${place}, 'lesson', 'service', ${place}, 't', 'b', 3, (case when rare then 'reviewed' else 'rejected' end)::memory_candidate_status, 2, 'x', 'x'
    from ${made}`)
  await client.query(`
    insert into memories (id, namespace, kind, scope, subject_key, title, body, source_candidate_id, confidence_score, status, last_seq, created_by, updated_by)
    select gen_random_uuid(), ${place}, 'lesson', 'service', ${place}, 't', 'b', gen_random_uuid(), 3, (case when rare then 'active' else 'archived' end)::memory_status, 2,
      'x', 'x' from ${made}`)
  await client.query('reset session_replication_role')
  await client.query('vacuum analyze')
  client.release()
}

/** Rows of tables and entries of their indexes that were read, all in all; told by a session when it ends, so that all others are waited for. */
async function entriesRead(): Promise<number> {
  const client = new pg.Client({ connectionString: t.url })
  await client.connect()
  try {
    await vi.waitUntil(
      async () => {
        const others = await client.query(`select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`)
        return others.rowCount === 0
      },
      { timeout: 20_000 },
    )
    const { rows } = await client.query<{ entries: string }>(
      `select (select sum(seq_tup_read) from pg_stat_user_tables where relname = any($1)) +
         (select sum(idx_tup_read) from pg_stat_user_indexes where relname = any($1)) as entries`,
      [TABLES],
    )
    return Number(rows[0]?.entries)
  } finally {
    await client.end()
  }
}

const LISTS: Readonly<Record<string, (ledger: Ledger) => Promise<{ readonly items: readonly unknown[] }>>> = {
  'ideas of a namespace': (ledger) => ledger.listIdeas(ListIdeasQuery.parse({ namespace: 'rare' })),
  'ideas of a state': (ledger) => ledger.listIdeas(ListIdeasQuery.parse({ status: 'reviewed' })),
  'ideas about a theme': (ledger) => ledger.listIdeas(ListIdeasQuery.parse({ theme: 'rare' })),
  'opportunities of a namespace': (ledger) => ledger.listOpportunities(ListOpportunitiesQuery.parse({ namespace: 'rare' })),
  'opportunities of a state': (ledger) => ledger.listOpportunities(ListOpportunitiesQuery.parse({ status: 'accepted' })),
  'opportunities that are open': (ledger) => ledger.listOpportunities(ListOpportunitiesQuery.parse({ open: 'true' })),
  'candidates of a namespace': (ledger) => ledger.listMemoryCandidates(ListMemoryCandidatesQuery.parse({ namespace: 'rare' }), OPERATOR.caller),
  'candidates of a state': (ledger) => ledger.listMemoryCandidates(ListMemoryCandidatesQuery.parse({ status: 'reviewed' }), OPERATOR.caller),
  'candidates about a subject': (ledger) => ledger.listMemoryCandidates(ListMemoryCandidatesQuery.parse({ subject_key: 'rare' }), OPERATOR.caller),
  'memories of a namespace': (ledger) => ledger.listMemories(ListMemoriesQuery.parse({ namespace: 'rare' }), OPERATOR.caller),
  'memories in force': (ledger) => ledger.listMemories(ListMemoriesQuery.parse({ status: 'active' }), OPERATOR.caller),
  'memories about a subject': (ledger) => ledger.listMemories(ListMemoriesQuery.parse({ scope: 'service', subject_key: 'rare' }), OPERATOR.caller),
}

test.each(Object.keys(LISTS))('a page of %s is read from an index in its order, however many there are beside it', async (name) => {
  const before = await entriesRead()
  const { ledger, database } = ledgerAt(t.url)

  const page = await LISTS[name]?.(ledger)
  await database.close()

  expect(page?.items).toHaveLength(50)
  // One entry for each row of the page, and a few that the planner looks at. Sorting would take all 200 that fit, going through the table 20,000.
  expect((await entriesRead()) - before).toBeLessThan(100)
})
