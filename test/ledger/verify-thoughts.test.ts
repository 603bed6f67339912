import { afterEach, beforeEach, expect, test } from 'vitest'
import { RefreshMemoryBody } from '../../contracts/memories.js'
import { aJob, freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import {
  aCandidate,
  agent,
  aMemory,
  anIdea,
  anOpportunity,
  conversion,
  decision,
  DEVOPS,
  keeping,
  note,
  promotion,
  propose,
  rights,
  suggest,
  verdict,
} from '../support/thoughts.js'
import { found, kindsOf, tamper, verifyNow } from '../support/verify.js'

let t: TestLedger
beforeEach(async () => {
  t = await freshLedger()
  await t.addAgent('coordinator', { concurrency: 10 })
  await rights(t.ledger, { triage: ['coordinator'], convert: ['coordinator'], promote: ['coordinator'] })
})
afterEach(() => t.close())

/** Of each kind one in each of its states, by operators, by an agent that has the rights and by a run of it. */
async function thoughts(): Promise<void> {
  const { ledger } = t
  for (const status of ['new', 'reviewed', 'promoted_to_opportunity', 'archived'] as const) await anIdea(ledger, status)
  for (const status of ['new', 'triaged', 'accepted', 'rejected', 'parked', 'converted_to_job'] as const) await anOpportunity(ledger, status)
  for (const status of ['new', 'reviewed', 'promoted', 'rejected', 'archived'] as const) await aCandidate(ledger, status)
  for (const status of ['active', 'superseded', 'expired', 'archived'] as const) await aMemory(ledger, status, {}, { expires_at: '2099-01-01T00:00:00Z' })
  const coordinator = agent('coordinator')
  const run = await aJob(ledger, 'running', { target_agent: 'coordinator' })
  await ledger.ideas.archive(DEVOPS, (await note(ledger)).idea.id, { notes: 'my own' })
  await ledger.ideas.promote(run.as, (await note(ledger)).idea.id, promotion())
  const { opportunity } = await propose(ledger)
  await ledger.opportunities.triage(coordinator, opportunity.id, decision('accepted', 'strong'))
  await ledger.opportunities.convert(run.as, opportunity.id, conversion())
  const { candidate } = await suggest(ledger)
  await ledger.memories.review(coordinator, candidate.id, verdict('reviewed', 'once more'))
  const { memory } = await ledger.memories.promote(coordinator, candidate.id, keeping({ dedupe_key: 'kept' }))
  await ledger.memories.refresh(run.as, memory.id, RefreshMemoryBody.parse({ notes: 'it holds' }))
}

test('thoughts in every state hold, whoever has decided', async () => {
  await thoughts()

  const results = await verifyNow(t.url)

  expect(kindsOf(results)).toEqual([])
  expect(results.find(({ check }) => check === 'thoughts')?.verdict).toBe('ok')
})

const FIRST_OF = (one: string, table: string, status: string): string => `seq = 1 and ${one}_id = (select id from ${table} where status = '${status}')`
const ONE = (table: string, where: string): string => `id = (select min(id::text)::uuid from ${table} where ${where})`

test.each([
  ['an idea said to be archived', `update ideas set status = 'archived' where ${ONE('ideas', `status = 'reviewed'`)}`, 'idea_disagrees'],
  ['an idea whose history was cut off', `delete from idea_reviews where seq = 2 and decision = 'reviewed'`, 'idea_disagrees'],
  ['an opportunity said to be open again', `update opportunities set status = 'parked' where ${ONE('opportunities', `status = 'rejected'`)}`, 'opportunity_disagrees'],
  [
    'a decision about an opportunity put in',
    `insert into opportunity_reviews (opportunity_id, seq, from_status, decision, actor_kind, actor)
     select id, 3, 'parked', 'accepted', 'operator', 'x' from opportunities where status = 'parked'`,
    'opportunity_disagrees',
  ],
  ['a candidate said to be rejected', `update memory_candidates set status = 'rejected' where status = 'archived'`, 'memory_candidate_disagrees'],
  ['a memory said to be in force again', `update memories set status = 'active' where status = 'expired'`, 'memory_disagrees'],
  ['a version that nobody has made', `update memories set last_seq = last_seq + 1 where dedupe_key = 'kept'`, 'memory_disagrees'],
  ['an idea made to say something else', `update ideas set body = 'another' where ${ONE('ideas', `status = 'reviewed'`)}`, 'thought_words_changed'],
  ['a score that was raised', `update opportunities set impact_score = 5 where status = 'parked'`, 'thought_words_changed'],
  ['a reader put in', `update memory_candidates set visibility = 'role_limited', visible_to = '{coordinator}' where status = 'archived'`, 'thought_words_changed'],
  ['evidence put in', `update memory_candidates set evidence = evidence || '{"jobs": 7}' where status = 'rejected'`, 'thought_words_changed'],
  ['a memory made to say something else', `update memories set body = 'another' where dedupe_key = 'kept'`, 'thought_words_changed'],
  ['another hash of what was said', `update opportunity_reviews set words_hash = sha256('x') where ${FIRST_OF('opportunity', 'opportunities', 'parked')}`, 'thought_words_changed'],
  ['an end that nobody has put off', `update memories set expires_at = '2098-01-01T00:00:00Z' where status = 'archived'`, 'memory_changed_unsaid'],
  ['a date of review that nobody has given', `update memories set next_review_at = '2098-01-01T00:00:00Z' where dedupe_key = 'kept'`, 'memory_changed_unsaid'],
  ['a memory made surer than it is', `update memories set confidence_score = 5 where dedupe_key = 'kept'`, 'memory_changed_unsaid'],
  [
    'an idea bent to another opportunity',
    `update ideas set promoted_opportunity_id = (select id from opportunities where status = 'parked') where ${ONE('ideas', `status = 'promoted_to_opportunity'`)}`,
    'idea_contradicts_opportunity',
  ],
  [
    'an opportunity in another namespace than the idea it came of',
    `update opportunities set namespace = 'other' where id = (select promoted_opportunity_id from ideas where ${ONE('ideas', `status = 'promoted_to_opportunity'`)})`,
    'idea_contradicts_opportunity',
  ],
  ['a memory that takes the place of one in another namespace', `update memories set namespace = 'other' where supersedes_memory_id is not null`, 'memory_succession_broken'],
  ['another who decided about an opportunity', `update opportunities set triaged_by = 'operator:somebody' where status = 'rejected'`, 'opportunity_decision_changed'],
  ['another reason for it', `update opportunities set triage_notes = 'another' where status = 'rejected'`, 'opportunity_decision_changed'],
  ['another who decided about a candidate', `update memory_candidates set reviewer = 'operator:somebody' where status = 'rejected'`, 'memory_candidate_decision_changed'],
  ['another reason for that', `update memory_candidates set review_notes = 'another' where status = 'rejected'`, 'memory_candidate_decision_changed'],
  ['another who made a memory', `update memories set created_by = 'operator:somebody' where dedupe_key = 'kept'`, 'memory_author_changed'],
  ['another who changed it last', `update memories set updated_by = 'operator:somebody' where dedupe_key = 'kept'`, 'memory_author_changed'],
  [
    'an opportunity bent to another job',
    `update opportunities set converted_job_id = (select id from jobs where correlation_key is null limit 1) where ${ONE('opportunities', `status = 'converted_to_job'`)}`,
    'opportunity_contradicts_job',
  ],
  [
    'a candidate bent to another memory',
    `update memory_candidates set promoted_memory_id = gen_random_uuid() where promoted_memory_id = (select id from memories where dedupe_key = 'kept')`,
    'memory_contradicts_candidate',
  ],
  ['a memory that nothing supersedes', `update memories set supersedes_memory_id = null where supersedes_memory_id is not null`, 'memory_succession_broken'],
  [
    'a decision in the name of an agent that may not',
    `update idea_reviews set actor_kind = 'agent', actor = 'devops', reviewer = 'devops' where decision = 'reviewed'`,
    'decision_without_right',
  ],
  [
    'an idea archived in the name of an agent whose it is not',
    `update ideas set source_agent = 'coordinator' where id = (select idea_id from idea_reviews where notes = 'my own')`,
    'decision_without_right',
  ],
  [
    'a memory past its end',
    `update memories set expires_at = now() - interval '1 hour' where status = 'active' and expires_at is not null and supersedes_memory_id is null`,
    'memory_not_ended',
  ],
])('%s is found and named', async (_what, change, kind) => {
  await thoughts()

  await tamper(t.url, change)

  expect(found(await verifyNow(t.url), kind).count).toBe(1)
})

test('words that were changed are told with the row that they are of, and the hash that they had', async () => {
  const { id } = await aMemory(t.ledger)
  const { rows } = await t.database.pool.query<{ hash: string }>(`select encode(words_hash, 'hex') as hash from memory_reviews`)

  await tamper(t.url, `update memories set subject_key = 'db-2'`)

  const { row, what } = found(await verifyNow(t.url), 'thought_words_changed')
  expect(row).toMatchObject({ what: 'Memory', id, history_says: rows[0]?.hash })
  expect(what).toContain(`Memory ${id}`)
})

test('a function of the database that was exchanged does not speak for the words', async () => {
  await anIdea(t.ledger)
  await tamper(
    t.url,
    `update ideas set title = 'another'`,
    `create or replace function idea_words(i ideas) returns bytea language sql stable as $$ select words_hash from idea_reviews where idea_id = i.id and seq = 1 $$`,
  )

  expect(kindsOf(await verifyNow(t.url))).toEqual(['thoughts/thought_words_changed'])
})

test('a memory past its end within the grace is not one that nobody has put down', async () => {
  await thoughts()
  await tamper(
    t.url,
    `update memories set expires_at = now() - interval '60 seconds' where status = 'active' and expires_at is not null`,
    `update memory_reviews r set details = r.details || jsonb_build_object('expires_at', to_char(m.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
     from memories m where m.id = r.memory_id and r.seq = 1 and m.expires_at is not null`,
  )

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})

test('the job of an opportunity that was deleted past the guards is missed', async () => {
  const { id, converted_job_id: job } = await anOpportunity(t.ledger, 'converted_to_job')

  await tamper(t.url, [`delete from job_transitions where job_id = $1`, [job]], [`delete from outbox where job_id = $1`, [job]], [`delete from jobs where id = $1`, [job]])

  expect(found(await verifyNow(t.url), 'opportunities.converted_job_id_points_nowhere').row).toMatchObject({ row: id, points_to: job })
})

test('a decision by an agent that has the right no longer holds as long as it had the right then', async () => {
  const { idea } = await note(t.ledger)
  await t.ledger.ideas.review(agent('coordinator'), idea.id, {})
  await rights(t.ledger, {})
  await t.ledger.ideas.archive(OPERATOR, idea.id, {})

  expect(kindsOf(await verifyNow(t.url))).toEqual([])
})
