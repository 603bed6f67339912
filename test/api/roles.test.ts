import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { routes } from '../../api/routes/index.js'
import { ListAlertsQuery } from '../../contracts/alerts.js'
import { BlockJobBody } from '../../contracts/jobs.js'
import { StartWorkflowBody, WorkflowDefinition } from '../../contracts/workflows.js'
import { FileFindingBody } from '../../contracts/findings.js'
import { alertRules } from '../support/alerts.js'
import { aJob, aSlot, OPERATOR, type TestJob } from '../support/ledger.js'
import { aBody, startApi, type TestApi } from './support.js'

let api: TestApi
let slotId = ''
let findingId = ''
let approvalId = ''
let runId = ''
let alertId = ''
let tokens: Record<'operator' | 'auditor' | 'agent' | 'attempt' | 'ended', string>
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
})
afterAll(() => api.close())

/** The status each role is answered with. A write that is let in may still fail on its input, which is then named here. */
type Expected = Readonly<Record<keyof typeof tokens, number>>
const readers: Expected = { operator: 200, auditor: 200, agent: 200, attempt: 403, ended: 401 }
const overseers: Expected = { operator: 200, auditor: 200, agent: 403, attempt: 403, ended: 401 }
const operators: Expected = { operator: 200, auditor: 403, agent: 403, attempt: 403, ended: 401 }
const nobody: Expected = { operator: 403, auditor: 403, agent: 403, attempt: 403, ended: 403 }

const cases: readonly (readonly [string, string, string, unknown, Expected])[] = [
  ['listJobs', 'GET', '/v1/jobs', undefined, readers],
  ['getJob', 'GET', '/v1/jobs/MINE', undefined, { ...readers, attempt: 200 }],
  ['getJob', 'GET', '/v1/jobs/FOREIGN', undefined, { ...readers, agent: 403 }],
  ['getJobHistory', 'GET', '/v1/jobs/MINE/history', undefined, { ...readers, attempt: 200 }],
  ['getJobHistory', 'GET', '/v1/jobs/FOREIGN/history', undefined, { ...readers, agent: 403 }],
  ['getJobResult', 'GET', '/v1/jobs/CLOSED/result', undefined, { ...readers, attempt: 403 }],
  ['getJobResult', 'GET', '/v1/jobs/FOREIGN/result?wait=1ms', undefined, { operator: 202, auditor: 202, agent: 403, attempt: 403, ended: 401 }],
  ['listJobAttempts', 'GET', '/v1/jobs/MINE/attempts', undefined, { ...readers, attempt: 200 }],
  ['listJobAttempts', 'GET', '/v1/jobs/FOREIGN/attempts', undefined, { ...readers, agent: 403 }],
  ['getAttempt', 'GET', '/v1/attempts/MINE', undefined, { ...readers, attempt: 200 }],
  ['getAttempt', 'GET', '/v1/attempts/FOREIGN', undefined, { ...readers, agent: 403 }],
  ['getAttemptPrompt', 'GET', '/v1/attempts/MINE/prompt', undefined, { ...overseers, attempt: 200 }],
  ['getAttemptPrompt', 'GET', '/v1/attempts/FOREIGN/prompt', undefined, overseers],
  ['listEvents', 'GET', '/v1/events', undefined, readers],
  ['listAgents', 'GET', '/v1/agents', undefined, readers],
  ['getAgent', 'GET', '/v1/agents/devops', undefined, readers],
  ['listGateways', 'GET', '/v1/gateways', undefined, overseers],
  ['listDispatchers', 'GET', '/v1/dispatchers', undefined, overseers],
  ['getHealth', 'GET', '/v1/health', undefined, overseers],
  ['listTokens', 'GET', '/v1/tokens', undefined, operators],
  ['metrics', 'GET', '/metrics', undefined, overseers],
  ['createJob', 'POST', '/v1/jobs', aBody(), { operator: 201, auditor: 403, agent: 201, attempt: 403, ended: 403 }],
  ['createJob', 'POST', '/v1/jobs', aBody({ source_agent: 'security' }), { operator: 201, auditor: 403, agent: 403, attempt: 403, ended: 403 }],
  ['createJobBatch', 'POST', '/v1/job-batches', { jobs: [aBody()] }, { operator: 201, auditor: 403, agent: 201, attempt: 403, ended: 403 }],
  ['createJobGraph', 'POST', '/v1/job-graphs', { jobs: [{ key: 'a', ...aBody() }] }, { operator: 201, auditor: 403, agent: 201, attempt: 403, ended: 403 }],
  ['emitEvent', 'POST', '/v1/events', { topic: 'a.fact' }, { operator: 201, auditor: 403, agent: 201, attempt: 403, ended: 403 }],
  ['claimJobs', 'POST', '/v1/jobs/claim', { lease_owner: 'me', namespace: 'empty' }, { operator: 200, auditor: 403, agent: 200, attempt: 403, ended: 403 }],
  ['claimJobs', 'POST', '/v1/jobs/claim', { lease_owner: 'me', namespace: 'empty', target_agent: 'security' }, { ...nobody, operator: 200 }],
  ['requeueExpired', 'POST', '/v1/jobs/requeue-expired', {}, operators],
  ['cancelJob', 'POST', '/v1/jobs/CLOSED/cancel', { reason: 'x' }, { ...operators, operator: 409 }],
  ['retryJob', 'POST', '/v1/jobs/CLOSED/retry', { reason: 'x' }, { ...operators, operator: 409 }],
  ['buryJob', 'POST', '/v1/jobs/CLOSED/bury', { reason: 'x' }, { ...operators, operator: 409 }],
  ['promoteJob', 'POST', '/v1/jobs/CLOSED/promote', { reason: 'x' }, { ...operators, operator: 409 }],
  ['pauseAgent', 'POST', '/v1/agents/devops/pause', { reason: 'x' }, operators],
  ['resumeAgent', 'POST', '/v1/agents/devops/resume', { reason: 'x' }, operators],
  ['listLanes', 'GET', '/v1/lanes', undefined, readers],
  ['pauseLane', 'POST', '/v1/lanes/idle/pause', { reason: 'x' }, operators],
  ['resumeLane', 'POST', '/v1/lanes/idle/resume', { reason: 'x' }, operators],
  ['listControls', 'GET', '/v1/controls', undefined, readers],
  ['listControlChanges', 'GET', '/v1/controls/history', undefined, readers],
  ['setControl', 'POST', '/v1/controls', { action: 'pause', scope: 'lane', target: 'memory', reason: 'x' }, { ...operators, operator: 201 }],
  ['resumeControl', 'POST', '/v1/controls/resume', { scope: 'lane', target: 'memory', reason: 'x' }, operators],
  ['cancelFlow', 'POST', '/v1/flows/cancel', { job_id: '0192f0c4-1111-7000-8000-00000000000a', reason: 'x' }, { ...operators, operator: 404 }],
  ['forceDead', 'POST', '/v1/jobs/CLOSED/dead', { reason: 'x' }, { ...operators, operator: 409 }],
  ['applyFleet', 'POST', '/v1/fleet', { fleet: {} }, operators],
  ['createToken', 'POST', '/v1/tokens', { name: 'n', role: 'auditor' }, { ...operators, operator: 201 }],
  ['revokeToken', 'DELETE', '/v1/tokens/0192f0c4-1111-7000-8000-00000000000a', undefined, { ...operators, operator: 404 }],
  ['completeJob', 'POST', '/v1/jobs/FOREIGN/complete', {}, nobody],
  ['blockJob', 'POST', '/v1/jobs/FOREIGN/block', { blocked_reason: 'x' }, nobody],
  ['failJob', 'POST', '/v1/jobs/FOREIGN/fail', { last_error: 'x' }, nobody],
  ['renewJobLease', 'POST', '/v1/jobs/FOREIGN/renew', {}, nobody],
  ['noteProgress', 'POST', '/v1/jobs/FOREIGN/progress', { note: 'x' }, nobody],
  ['markJobRunning', 'POST', '/v1/jobs/FOREIGN/mark-running', {}, nobody],
  ['renewJobLease', 'POST', '/v1/jobs/MINE/renew', {}, { ...nobody, attempt: 200 }],
  ['noteProgress', 'POST', '/v1/jobs/MINE/progress', { note: 'x' }, { ...nobody, attempt: 200 }],
  ['markJobRunning', 'POST', '/v1/jobs/MINE/mark-running', {}, { ...nobody, attempt: 200 }],
  ['completeJob', 'POST', '/v1/jobs/CLOSED/complete', {}, { ...nobody, ended: 409 }],
  ['listStandingOrders', 'GET', '/v1/standing-orders', undefined, readers],
  ['getStandingOrder', 'GET', '/v1/standing-orders/devops/nightly', undefined, readers],
  ['setStandingOrder', 'PUT', '/v1/standing-orders/devops/set', { every_seconds: 60, message: 'x', enabled: false }, { ...operators, operator: 201 }],
  ['disableStandingOrder', 'DELETE', '/v1/standing-orders/devops/nightly', undefined, operators],
  ['listStandingOrderRuns', 'GET', '/v1/standing-order-runs', undefined, readers],
  ['getStandingOrderRun', 'GET', '/v1/standing-order-runs/SLOT', undefined, readers],
  ['getAccountability', 'GET', '/v1/accountability?from=2026-01-01T00:00:00Z', undefined, overseers],
  ['startStandingOrder', 'POST', '/v1/jobs/FOREIGN/start-standing-order', {}, nobody],
  ['finishStandingOrder', 'POST', '/v1/jobs/FOREIGN/finish-standing-order', { outcome: 'no_work' }, nobody],
  ['fileFinding', 'POST', '/v1/findings', { topic: 'a.b', subject_key: 'KEY', body: 'x', to: 'security' }, { ...nobody, operator: 201, agent: 200, attempt: 200, ended: 401 }],
  ['fileFinding', 'POST', '/v1/findings', { topic: 'a.b', subject_key: 'y', body: 'x', to: 'security', source_agent: 'security' }, { ...nobody, operator: 201 }],
  ['listFindings', 'GET', '/v1/findings', undefined, readers],
  ['getFinding', 'GET', '/v1/findings/FINDING', undefined, readers],
  ['listInbox', 'GET', '/v1/inbox', undefined, readers],
  ['readInbox', 'POST', '/v1/inbox/read', { agent: 'devops' }, { ...nobody, operator: 200, agent: 200, attempt: 200, ended: 401 }],
  ['readInbox', 'POST', '/v1/inbox/read', { agent: 'security' }, { ...nobody, operator: 200 }],
  ['acknowledgeInbox', 'POST', '/v1/inbox/acknowledge', { ids: ['0192f0c4-1111-7000-8000-00000000000a'] }, { operator: 404, auditor: 403, agent: 404, attempt: 404, ended: 401 }],
  ['settleFinding', 'POST', '/v1/findings/FINDING/settle', { note: 'x' }, { ...nobody, operator: 200, ended: 401 }],
  ['finishStandingOrder', 'POST', '/v1/jobs/MINE/finish-standing-order', { outcome: 'no_work' }, { ...nobody, attempt: 409 }],
  ['listSubscriptions', 'GET', '/v1/subscriptions', undefined, readers],
  ['setSubscription', 'PUT', '/v1/subscriptions/s1', { agent: 'devops', topic: 'never.said' }, { ...operators, operator: 201 }],
  ['disableSubscription', 'DELETE', '/v1/subscriptions/s1', undefined, operators],
  ['listReactions', 'GET', '/v1/reactions', undefined, readers],
  ['trace', 'GET', '/v1/trace?job_id=MINE', undefined, overseers],
  ['listBlocked', 'GET', '/v1/blocked', undefined, readers],
  ['listBlocked', 'GET', '/v1/blocked?agent=security', undefined, { ...readers, agent: 403 }],
  ['unblockJob', 'POST', '/v1/jobs/MINE/unblock', { reason: 'x' }, { ...nobody, operator: 409, ended: 401 }],
  ['listApprovals', 'GET', '/v1/approvals', undefined, readers],
  ['getApproval', 'GET', '/v1/approvals/APPROVAL', undefined, overseers],
  ['approve', 'POST', '/v1/approvals/APPROVAL/approve', {}, { ...nobody, operator: 200, ended: 401 }],
  ['reject', 'POST', '/v1/approvals/APPROVAL/reject', { note: 'x' }, { ...nobody, operator: 409, ended: 401 }],
  ['listWorkflows', 'GET', '/v1/workflows', undefined, readers],
  ['defineWorkflow', 'POST', '/v1/workflows', { name: 'other', steps: [{ id: 'a', agent: 'devops' }] }, { ...nobody, operator: 201, ended: 401 }],
  ['getWorkflow', 'GET', '/v1/workflows/w', undefined, readers],
  ['startWorkflow', 'POST', '/v1/workflows/w/runs', {}, { ...nobody, operator: 201, ended: 401 }],
  ['listWorkflowRuns', 'GET', '/v1/workflow-runs', undefined, readers],
  ['getWorkflowRun', 'GET', '/v1/workflow-runs/WORKFLOW_RUN', undefined, overseers],
  ['cancelWorkflowRun', 'POST', '/v1/workflow-runs/WORKFLOW_RUN/cancel', { reason: 'x' }, { ...nobody, operator: 200, ended: 401 }],
  ['listProjects', 'GET', '/v1/projects', undefined, { ...readers, attempt: 200 }],
  ['appendProjectLog', 'POST', '/v1/projects/shop/log', { entry: 'x' }, { operator: 201, auditor: 403, agent: 201, attempt: 201, ended: 401 }],
  ['listProjectLog', 'GET', '/v1/projects/shop/log', undefined, { ...readers, attempt: 200 }],
  ['setProjectStatus', 'PUT', '/v1/projects/shop/status', { status: 'x' }, { ...nobody, operator: 201, ended: 401 }],
  ['getProjectStatus', 'GET', '/v1/projects/shop/status', undefined, { ...readers, attempt: 200 }],
  ['listProjectStatuses', 'GET', '/v1/projects/shop/statuses', undefined, { ...readers, attempt: 200 }],
  ['listAlerts', 'GET', '/v1/alerts', undefined, overseers],
  ['getAlert', 'GET', '/v1/alerts/ALERT_ID', undefined, overseers],
  ['acknowledgeAlert', 'POST', '/v1/alerts/ALERT_ID/acknowledge', { reason: 'x' }, operators],
  ['silenceAlert', 'POST', '/v1/alert-rules/dead-letters/silence', { until: '2030-01-01T00:00:00Z', reason: 'x' }, { ...operators, operator: 400 }],
  ['testAlert', 'POST', '/v1/alert-rules/dead-letters/test', undefined, { ...operators, operator: 201 }],
  ['listSilences', 'GET', '/v1/alert-silences', undefined, overseers],
  ['liftSilence', 'POST', '/v1/alert-silences/RUN_ID_OF_NOTHING/lift', { reason: 'x' }, { ...operators, operator: 404 }],
]

function pathOf(path: string): string {
  const isAttempt = path.startsWith('/v1/attempts/')
  const idOf = (job: TestJob): string => String(isAttempt ? job.attemptId : job.id)
  return path
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

test('a prompt is shown without the token that stood in it', async () => {
  const answer = await api.operate('GET', pathOf('/v1/attempts/MINE/prompt'))

  expect(answer.text).not.toContain('aat_')
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
