import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RefreshMemoryBody } from '../../contracts/memories.js'
import { sqlStateOf } from '../../ledger/database.js'
import { KINDS } from '../../ledger/thoughts/kinds.js'
import type { Kind } from '../../ledger/thoughts/rows.js'
import { WORDS, wordsHash } from '../../ledger/thoughts/words.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { aCandidate, aMemory, anIdea, anOpportunity } from '../support/thoughts.js'

let t: TestLedger
/** One of each in each of its states. Everything below is refused, so that all tests find the same. */
beforeAll(async () => {
  t = await freshLedger()
  const { ledger } = t
  for (const status of ['new', 'reviewed', 'promoted_to_opportunity', 'archived'] as const) await anIdea(ledger, status, { dedupe_key: `idea-${status}` })
  for (const status of ['new', 'triaged', 'rejected', 'converted_to_job'] as const) await anOpportunity(ledger, status, { dedupe_key: `opportunity-${status}` })
  for (const status of ['new', 'reviewed', 'promoted', 'rejected', 'archived'] as const) await aCandidate(ledger, status, { dedupe_key: `candidate-${status}` })
  for (const status of ['superseded', 'expired', 'archived'] as const) await aMemory(ledger, status)
  const { id } = await aMemory(ledger, 'active', {}, { dedupe_key: 'in-force' })
  await ledger.memories.refresh(OPERATOR, id, RefreshMemoryBody.parse({ notes: 'it holds' }))
})
afterAll(() => t.close())

const STATES = ['ideas', 'opportunities', 'memory_candidates', 'memories'] as const
const REVIEWS = ['idea_reviews', 'opportunity_reviews', 'memory_candidate_reviews', 'memory_reviews'] as const

async function everything(): Promise<unknown[]> {
  const found = await Promise.all([...STATES, ...REVIEWS].map((table) => t.database.pool.query<{ row: unknown }>(`select to_jsonb(x) as row from ${table} x order by 1`)))
  return found.map(({ rows }) => rows)
}

/** What becomes of a statement, and of its transaction when that is to be committed: what refused each. */
async function byHand(statement: string): Promise<readonly [statement: unknown, commit: unknown]> {
  const client = await t.database.pool.connect()
  try {
    await client.query('begin')
    const done = await client.query(statement).then(() => 'done', sqlStateOf)
    return [done, done === 'done' ? await client.query('commit').then(() => 'committed', sqlStateOf) : undefined]
  } finally {
    await client.query('rollback')
    client.release()
  }
}

/** `at once` for what the statement itself is refused with. */
async function expectRefused(statement: string, state: string, when: 'at once' | 'at commit'): Promise<void> {
  const before = await everything()

  const [done, committed] = await byHand(statement)

  expect([statement, done, committed]).toEqual([statement, ...(when === 'at once' ? [state, undefined] : ['done', state])])
  expect(await everything()).toEqual(before)
}

describe('the histories', () => {
  test.each(REVIEWS)('%s only grow', async (table) => {
    for (const statement of [`update ${table} set notes = 'another'`, `update ${table} set at = now()`, `delete from ${table}`, `truncate ${table}`])
      await expectRefused(statement, '23001', 'at once')
  })

  test.each([
    ['idea_reviews', 'idea_id', 'ideas', 'archived', 'new'],
    ['idea_reviews', 'idea_id', 'ideas', 'reviewed', 'reviewed'],
    ['opportunity_reviews', 'opportunity_id', 'opportunities', 'rejected', 'accepted'],
    ['opportunity_reviews', 'opportunity_id', 'opportunities', 'triaged', 'triaged'],
    ['memory_candidate_reviews', 'memory_candidate_id', 'memory_candidates', 'promoted', 'rejected'],
    ['memory_reviews', 'memory_id', 'memories', 'expired', 'active'],
  ])('%s have no row of a move that is not legal (%s of %s: %s → %s)', async (table, key, states, from, to) => {
    const insert = `insert into ${table} (${key}, seq, from_status, decision, actor_kind, actor)
      select id, last_seq + 1, '${from}', '${to}', 'operator', 'x' from ${states} where status = '${from}'`

    await expectRefused(insert, '23514', 'at once')
  })

  test.each([
    ['idea_reviews', 'idea_id', 'ideas', 'new', 'reviewed'],
    ['opportunity_reviews', 'opportunity_id', 'opportunities', 'new', 'accepted'],
    ['memory_candidate_reviews', 'memory_candidate_id', 'memory_candidates', 'new', 'promoted'],
    ['memory_reviews', 'memory_id', 'memories', 'active', 'archived'],
  ])('%s begin once (%s of %s), as %s and never as %s', async (table, key, states, first, other) => {
    const insert = (seq: string, decision: string) =>
      `insert into ${table} (${key}, seq, decision, words_hash, actor_kind, actor)
       select id, ${seq}, '${decision}', ${seq === '1' ? `sha256('x')` : 'null'}, 'operator', 'x' from ${states} limit 1`

    await expectRefused(insert('1', other), '23514', 'at once')
    await expectRefused(insert('last_seq + 1', first), '23514', 'at once')
    await expectRefused(insert('1', first), '23505', 'at once')
  })

  test.each([
    ['idea_reviews', 'idea_id', 'ideas', 'new', 'archived'],
    ['opportunity_reviews', 'opportunity_id', 'opportunities', 'new', 'rejected'],
    ['memory_candidate_reviews', 'memory_candidate_id', 'memory_candidates', 'new', 'archived'],
    ['memory_reviews', 'memory_id', 'memories', 'active', 'archived'],
  ])('%s have a hash of what was said in the first row, and in no other one (%s of %s)', async (table, key, states, first, next) => {
    const begins = `insert into ${table} (${key}, seq, decision, actor_kind, actor) select gen_random_uuid(), 1, '${first}', 'operator', 'x'`
    const goesOn = `insert into ${table} (${key}, seq, from_status, decision, words_hash, actor_kind, actor)
      select id, last_seq + 1, '${first}', '${next}', sha256('x'), 'operator', 'x' from ${states} where status = '${first}'`

    for (const insert of [begins, goesOn]) await expectRefused(insert, '23514', 'at once')
  })

  test('name as the reviewer nobody but the agent that decided', async () => {
    const insert = `insert into idea_reviews (idea_id, seq, from_status, decision, reviewer, actor_kind, actor)
      select id, 2, 'new', 'archived', 'security', 'agent', 'devops' from ideas where status = 'new'`

    await expectRefused(insert, '23514', 'at once')
  })
})

describe('what is there', () => {
  test.each(STATES)('%s are not deleted, and not emptied', async (table) => {
    for (const statement of [`delete from ${table}`, `truncate ${table} cascade`]) await expectRefused(statement, '23001', 'at once')
  })

  test.each([
    `update ideas set title = 'another' where status = 'new'`,
    `update ideas set source_agent = null where status = 'new'`,
    `update ideas set tags = '{x}' where status = 'reviewed'`,
    `update opportunities set impact_score = 5 where status = 'new'`,
    `update opportunities set evidence = '{"a": 1}' where status = 'triaged'`,
    `update memory_candidates set body = 'another' where status = 'new'`,
    `update memory_candidates set visibility = 'human_editable' where status = 'reviewed'`,
    `update memories set body = 'another' where status = 'active'`,
    `update memories set visibility = 'human_editable' where status = 'active'`,
    `update memories set source_refs = '{"a": 1}' where status = 'active'`,
  ])('says what was said: %s', async (statement) => {
    await expectRefused(statement, '23001', 'at once')
  })

  test.each([
    ['ideas', 'promoted_to_opportunity'],
    ['ideas', 'archived'],
    ['opportunities', 'rejected'],
    ['opportunities', 'converted_to_job'],
    ['memory_candidates', 'promoted'],
    ['memory_candidates', 'rejected'],
    ['memory_candidates', 'archived'],
    ['memories', 'superseded'],
    ['memories', 'expired'],
    ['memories', 'archived'],
  ])('of %s stays as it is once it is %s', async (table, status) => {
    const { rows } = await t.database.pool.query(`select 1 from ${table} where status = '${status}'`)
    expect(rows.length).toBeGreaterThan(0)

    await expectRefused(`update ${table} set updated_at = now() where status = '${status}'`, '23001', 'at once')
  })
})

describe('the hash of what was said', () => {
  const kinds = Object.keys(KINDS) as Kind[]
  const FUNCTIONS: Readonly<Record<Kind, string>> = { idea: 'idea_words', opportunity: 'opportunity_words', candidate: 'memory_candidate_words', memory: 'memory_words' }

  test.each(kinds)('of each %s is over the columns that its guard keeps as they are', async (kind) => {
    const { rows } = await t.database.pool.query<{ guard: string }>('select pg_get_triggerdef(oid) as guard from pg_trigger where tgname = $1', [`${KINDS[kind].table}_words_stay`])

    const guarded = new Set([...(rows[0]?.guard ?? '').matchAll(/\bold\.(\w+)/g)].map(([, column]) => column))
    expect(WORDS[kind].toSorted()).toEqual([...guarded].toSorted())
    expect(guarded.size).toBeGreaterThan(9)
  })

  test.each(kinds)('of each %s is the same in the database and in the code, and stands in its history', async (kind) => {
    const { table, reviews, key } = KINDS[kind]

    const { rows } = await t.database.pool.query<{ said: boolean; computed: boolean }>(`
      select r.words_hash = ${FUNCTIONS[kind]}(x) as said, ${wordsHash(kind, 'x')} = ${FUNCTIONS[kind]}(x) as computed
      from ${table} x join ${reviews} r on r.${key} = x.id and r.seq = 1`)

    expect(rows.length).toBeGreaterThan(3)
    expect(rows.filter(({ said, computed }) => !said || !computed)).toEqual([])
  })
})

const REVIEW = (table: string, key: string, states: string, where: string, move: readonly [string, string]) => `
  with said as (insert into ${table} (${key}, seq, from_status, decision, actor_kind, actor)
    select id, 3, '${move[0]}', '${move[1]}', 'operator', 'x' from ${states} where ${where})`

describe('no state is changed without the review that says so', () => {
  test.each([
    ['a state that its history does not know', `update ideas set status = 'archived' where status = 'reviewed'`],
    ['a state that its history does not know', `update opportunities set status = 'accepted' where status = 'triaged'`],
    ['a state that its history does not know', `update memory_candidates set status = 'archived' where status = 'reviewed'`],
    ['a state that its history does not know', `update memories set status = 'expired' where status = 'active' and last_seq = 2`],
    ['a version ahead of the history', `update ideas set status = 'archived', last_seq = 3 where status = 'reviewed'`],
    ['a version ahead of the history', `update opportunities set last_seq = 3 where status = 'triaged'`],
    ['a version ahead of the history', `update memory_candidates set last_seq = 3 where status = 'reviewed'`],
    ['a version ahead of the history', `update memories set last_seq = 3 where status = 'active' and last_seq = 2`],
    ['a version behind the history', `update memories set last_seq = 1 where status = 'active' and last_seq = 2`],
    [
      'a review that says something else',
      `${REVIEW('idea_reviews', 'idea_id', 'ideas', `status = 'reviewed'`, ['reviewed', 'promoted_to_opportunity'])}
       update ideas set status = 'archived', last_seq = 3 where status = 'reviewed'`,
    ],
    [
      'a review that does not go on from the one before',
      `${REVIEW('opportunity_reviews', 'opportunity_id', 'opportunities', `status = 'triaged'`, ['parked', 'accepted'])}
       update opportunities set status = 'accepted', last_seq = 3 where status = 'triaged'`,
    ],
    [
      'a review beyond the version',
      `${REVIEW('memory_candidate_reviews', 'memory_candidate_id', 'memory_candidates', `status = 'reviewed'`, ['reviewed', 'archived'])}
       update memory_candidates set updated_at = now() where status = 'reviewed'`,
    ],
    [
      'words that their history does not vouch for',
      `with made as (insert into ideas (id, theme, title, body, last_seq, created_by) values (gen_random_uuid(), 'x', 'x', 'x', 1, 'operator:x') returning id)
       insert into idea_reviews (idea_id, seq, decision, words_hash, actor_kind, actor) select id, 1, 'new', sha256('x'), 'operator', 'x' from made`,
    ],
    [
      'words that their history does not vouch for',
      `with made as (insert into memories (id, kind, scope, subject_key, title, body, source_candidate_id, confidence_score, last_seq, created_by, updated_by)
         select gen_random_uuid(), 'lesson', 'global', 'x', 'x', 'x', id, 1, 1, 'operator:x', 'operator:x' from memory_candidates where status = 'reviewed' returning id)
       insert into memory_reviews (memory_id, seq, decision, words_hash, actor_kind, actor) select id, 1, 'active', sha256('x'), 'operator', 'x' from made`,
    ],
    ['an idea of no history', `insert into ideas (id, theme, title, body, last_seq, created_by) values (gen_random_uuid(), 'x', 'x', 'x', 1, 'operator:x')`],
    [
      'an opportunity of no history',
      `insert into opportunities (id, theme, title, why_now, impact_score, confidence_score, urgency_score, reversibility, suggested_next_step, last_seq, created_by)
       values (gen_random_uuid(), 'x', 'x', 'x', 1, 1, 1, 'low', 'x', 1, 'operator:x')`,
    ],
    [
      'a candidate of no history',
      `insert into memory_candidates (id, candidate_kind, scope, subject_key, title, body, confidence_score, last_seq, created_by)
       values (gen_random_uuid(), 'lesson', 'global', 'x', 'x', 'x', 1, 1, 'operator:x')`,
    ],
    [
      'a memory of no history',
      `insert into memories (id, kind, scope, subject_key, title, body, source_candidate_id, confidence_score, last_seq, created_by, updated_by)
       select gen_random_uuid(), 'lesson', 'global', 'x', 'x', 'x', id, 1, 1, 'operator:x', 'operator:x' from memory_candidates where status = 'reviewed'`,
    ],
  ])('%s: %s', async (_what, statement) => {
    await expectRefused(statement, '23000', 'at commit')
  })
})

describe('the columns of a row agree', () => {
  const opportunity = (columns: string, values: string) => `
    insert into opportunities (id, theme, title, why_now, suggested_next_step, last_seq, created_by, ${columns})
    values (gen_random_uuid(), 'x', 'x', 'x', 'x', 1, 'operator:x', ${values})`
  const scores = 'impact_score, confidence_score, urgency_score, reversibility'
  const candidate = (columns: string, values: string) => `
    insert into memory_candidates (id, candidate_kind, scope, subject_key, title, body, last_seq, created_by, ${columns})
    values (gen_random_uuid(), 'lesson', 'global', 'x', 'x', 'x', 1, 'operator:x', ${values})`

  test.each([
    ['a score of 0', opportunity(scores, `0, 1, 1, 'low'`)],
    ['a score of 6', opportunity(scores, `1, 6, 1, 'low'`)],
    ['an urgency of 6', opportunity(scores, `1, 1, 6, 'low'`)],
    ['a confidence of 0', candidate('confidence_score', '0')],
    ['readers without role_limited', candidate('confidence_score, visible_to', `1, '{security}'`)],
    ['role_limited without readers', candidate('confidence_score, visibility', `1, 'role_limited'`)],
    ['agent_private without an owner', candidate('confidence_score, visibility', `1, 'agent_private'`)],
    ['a conversion without a job', `update opportunities set status = 'converted_to_job', last_seq = 3 where status = 'triaged'`],
    ['a job without a conversion', `update opportunities set converted_job_id = (select id from jobs limit 1) where status = 'triaged'`],
    ['a promotion without an opportunity', `update ideas set status = 'promoted_to_opportunity', last_seq = 3 where status = 'reviewed'`],
    ['an opportunity without a promotion', `update ideas set promoted_opportunity_id = (select id from opportunities limit 1) where status = 'reviewed'`],
    ['a promotion without a memory', `update memory_candidates set status = 'promoted', last_seq = 3 where status = 'reviewed'`],
    ['a decision of nobody', `update opportunities set triaged_by = null where status = 'triaged'`],
  ])('%s is refused', async (_what, statement) => {
    await expectRefused(statement, '23514', 'at once')
  })

  test.each([
    [
      'a second idea that is open under its key',
      `insert into ideas (id, source_agent, theme, title, body, last_seq, created_by, dedupe_key) values (gen_random_uuid(), 'devops', 'x', 'x', 'x', 1, 'x', 'idea-reviewed')`,
    ],
    [
      'a second opportunity that is open under its key',
      `insert into opportunities (id, source_agent, theme, title, why_now, ${scores}, suggested_next_step, last_seq, created_by, dedupe_key)
       values (gen_random_uuid(), 'devops', 'x', 'x', 'x', 1, 1, 1, 'low', 'x', 1, 'x', 'opportunity-triaged')`,
    ],
    [
      'a second candidate that is open under its key',
      `insert into memory_candidates (id, source_agent, candidate_kind, scope, subject_key, title, body, confidence_score, last_seq, created_by, dedupe_key)
       values (gen_random_uuid(), 'devops', 'lesson', 'global', 'x', 'x', 'x', 1, 1, 'x', 'candidate-reviewed')`,
    ],
    [
      'a second memory that is in force under its key',
      `insert into memories (id, kind, scope, subject_key, title, body, source_candidate_id, confidence_score, last_seq, created_by, updated_by, dedupe_key)
       select gen_random_uuid(), 'lesson', 'global', 'x', 'x', 'x', id, 1, 1, 'x', 'x', 'in-force' from memory_candidates where status = 'reviewed'`,
    ],
    [
      'a second memory of one candidate',
      `insert into memories (id, kind, scope, subject_key, title, body, source_candidate_id, confidence_score, last_seq, created_by, updated_by)
       select gen_random_uuid(), kind, scope, subject_key, title, body, source_candidate_id, 1, 1, 'x', 'x' from memories where status = 'active' and last_seq = 2`,
    ],
  ])('%s is refused', async (_what, statement) => {
    await expectRefused(statement, '23505', 'at once')
  })
})
