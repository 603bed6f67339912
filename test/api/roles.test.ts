import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { routes } from '../../api/routes/index.js'
import { ListAlertsQuery } from '../../contracts/alerts.js'
import { BlockJobBody } from '../../contracts/closings.js'
import { StartWorkflowBody, WorkflowDefinition } from '../../contracts/workflows.js'
import { FileFindingBody } from '../../contracts/findings.js'
import { alertRules } from '../support/alerts.js'
import { aJob, aSlot, OPERATOR, type TestJob } from '../support/ledger.js'
import { aCandidate, agent, aMemory, anIdea, anOpportunity, keeping, note, suggest } from '../support/thoughts.js'
import { cases, type Expected } from './role-cases.js'
import { aBody, startApi, type TestApi } from './support.js'

let api: TestApi
let slotId = ''
let findingId = ''
let approvalId = ''
let runId = ''
let alertId = ''
let thoughts: Readonly<Record<string, string>> = {}
let tokens: Record<keyof Expected, string>
let mine: TestJob
let foreign: TestJob
let closed: TestJob
beforeAll(async () => {
  api = await startApi()
  const { ledger } = api.t
  mine = await aJob(ledger, 'running', { target_agent: 'devops' })
  foreign = await aJob(ledger, 'running', { target_agent: 'security' })
  closed = await aJob(ledger, 'succeeded', { target_agent: 'devops' })
  tokens = {
    operator: api.t.operatorToken,
    auditor: await api.t.auditorToken(),
    agent: await api.t.agentToken('devops'),
    attempt: mine.attemptToken ?? '',
    ended: closed.attemptToken ?? '',
  }
  const asks = await aJob(api.t.ledger, 'running', { target_agent: 'security' })
  await api.t.ledger.jobs.block(asks.as, asks.id, BlockJobBody.parse({ blocked_reason: 'x', waits_for: { kind: 'approval' } }))
  approvalId = String((await api.t.ledger.listApprovals({ limit: 1 })).items[0]?.id)
  const workflow = WorkflowDefinition.parse({ name: 'w', steps: [{ id: 'a', agent: 'security' }] })
  await api.t.ledger.workflows.define(OPERATOR, workflow)
  runId = (await api.t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({}))).run.run.id
  await aJob(api.t.ledger, 'dead', { target_agent: 'security', max_attempts: 1 })
  await alertRules(api.t.ledger, [{ clear_for_seconds: 3_600 }])
  await api.t.ledger.alerts.evaluate()
  alertId = String((await api.t.ledger.listAlerts(ListAlertsQuery.parse({}))).items[0]?.id)
  slotId = (await aSlot(api.t.ledger, { name: 'nightly' })).slotId
  findingId = (await api.t.ledger.inbox.file(OPERATOR, FileFindingBody.parse({ topic: 'a.b', subject_key: 'x', body: 'x', to: 'security' }))).finding.id
  thoughts = await someThoughts()
})
afterAll(() => api.close())

/** One of each for every word that stands for it in a path. What is of others is private to security. */
async function someThoughts(): Promise<Record<string, string>> {
  const { ledger } = api.t
  const ofOthers = (await suggest(ledger, agent('security'), { visibility: 'agent_private' })).candidate.id
  return {
    IDEA_TO_REVIEW: (await note(ledger, agent('security'))).idea.id,
    IDEA_TO_PROMOTE: (await note(ledger, agent('security'))).idea.id,
    IDEA_OF_DEVOPS: (await anIdea(ledger)).id,
    OPPORTUNITY_TO_DECIDE: (await anOpportunity(ledger)).id,
    CANDIDATE_TO_REVIEW: (await aCandidate(ledger)).id,
    CANDIDATE_OF_OTHERS: ofOthers,
    MEMORY_TO_KEEP: (await aMemory(ledger)).id,
    MEMORY_OF_OTHERS: (await ledger.memories.promote(OPERATOR, ofOthers, keeping())).memory.id,
  }
}

function pathOf(path: string): string {
  const isAttempt = path.startsWith('/v1/attempts/')
  const idOf = (job: TestJob): string => String(isAttempt ? job.attemptId : job.id)
  return path
    .replace(/\b[A-Z_]+\b/, (word) => thoughts[word] ?? word)
    .replace('MINE', idOf(mine))
    .replace('FOREIGN', idOf(foreign))
    .replace('CLOSED', idOf(closed))
    .replace('SLOT', slotId)
    .replace('FINDING', findingId)
    .replace('ALERT_ID', alertId)
    .replace('RUN_ID_OF_NOTHING', '00000000-0000-7000-8000-000000000000')
    .replace('APPROVAL', approvalId)
    .replace('WORKFLOW_RUN', runId)
}

describe('what each kind of token may do', () => {
  const rows = cases.flatMap(([, method, path, body, expected]) =>
    (Object.keys(expected) as (keyof Expected)[]).map((role) => ({ method, path, what: body === undefined ? '' : JSON.stringify(body), body, role, status: expected[role] })),
  )

  test.each(rows)('$role: $method $path $what is answered $status; a refusal has a row', async ({ method, path, body, role, status }) => {
    const before = await api.count('observations')

    const answer = await api.call(method, pathOf(path), { token: tokens[role], body })

    expect([answer.status, answer.status < 400 ? undefined : answer.body['code']]).toEqual([status, answer.status < 400 ? undefined : expect.stringMatching(/^AGENTBUS_/)])
    const refused = status === 401 || status === 403
    if (refused) {
      const { rows: added } = await api.t.database.pool.query(`select kind, code, actor_kind::text as actor_kind from observations order by id offset $1`, [before])
      const kind = role === 'ended' ? 'attempt' : role
      expect(added).toEqual([{ kind: 'refusal', code: status === 401 ? 'AGENTBUS_UNAUTHORIZED' : 'AGENTBUS_FORBIDDEN', actor_kind: kind }])
    }
  })

  test('is written down above for every route', () => {
    const named = new Set(cases.map(([id]) => id))

    expect(routes.map((route) => route.id).filter((id) => !named.has(id))).toEqual([])
  })
})

test('an agent sees the jobs sent to it and no others in its list', async () => {
  const answer = await api.call('GET', '/v1/jobs?limit=200', { token: tokens.agent })

  const targets = new Set((answer.body['items'] as { target_agent: string }[]).map((job) => job.target_agent))
  expect(targets).toEqual(new Set(['devops']))
})

test('an agent that asks for the jobs of another is told no, and not given its own instead', async () => {
  const answer = await api.call('GET', '/v1/jobs?target_agent=security', { token: tokens.agent })

  expect([answer.status, answer.body['code']]).toEqual([403, 'AGENTBUS_FORBIDDEN'])
})

test('an agent may read a job it sent to another', async () => {
  const sent = await api.call('POST', '/v1/jobs', { token: tokens.agent, body: aBody({ target_agent: 'security' }) })

  const read = await api.call('GET', `/v1/jobs/${String(sent.body['id'])}`, { token: tokens.agent })

  expect([read.status, read.body['source_agent']]).toEqual([200, 'devops'])
})

test('an attempt whose lease has run out reads nothing more, and what it sends is refused with a row about its job', async () => {
  const job = await aJob(api.t.ledger, 'running')
  await api.t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() - interval '1 second' where id = $1`, [job.attemptId])

  const read = await api.call('GET', `/v1/jobs/${job.id}`, { token: job.attemptToken })
  const write = await api.call('POST', `/v1/jobs/${job.id}/complete`, { token: job.attemptToken, body: {} })

  expect([read.status, write.status, write.body['code']]).toEqual([401, 409, 'AGENTBUS_LEASE_EXPIRED'])
  expect((await api.t.ledger.getJob(job.id)).status).toBe('running')
  expect((await api.t.ledger.jobHistory(job.id)).observations.map((row) => row.code)).toEqual(['AGENTBUS_UNAUTHORIZED', 'AGENTBUS_LEASE_EXPIRED'])
})

test('a new token is shown once, with a view that never holds it again', async () => {
  const made = await api.operate('POST', '/v1/tokens', { body: { name: 'once', role: 'agent', agent_id: 'devops' } })

  const listed = await api.operate('GET', '/v1/tokens')

  expect(made.body['token']).toMatch(/^abt_[A-Za-z0-9_-]{43}$/)
  expect(listed.text).toContain(String(made.body['id']))
  expect(listed.text).not.toContain(String(made.body['token']))
  expect(String(made.body['created_at'])).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
})

test.each([
  [{ name: 'x', role: 'agent' }, 400],
  [{ name: 'x', role: 'auditor', agent_id: 'devops' }, 400],
  [{ name: 'x', role: 'internal' }, 400],
  [{ name: 'x', role: 'agent', agent_id: 'nobody' }, 422],
])('a token for %j is refused with %i', async (body, status) => {
  const before = await api.count('api_tokens')

  const answer = await api.operate('POST', '/v1/tokens', { body })

  expect(answer.status).toBe(status)
  expect(await api.count('api_tokens')).toBe(before)
})
