import { describe, expect } from 'vitest'
import { routes } from '../../api/routes/index.js'
import { COMMANDS } from '../../cli/client/command-table.js'
import { TOKEN, type SeenRequest } from './stand-in.js'
import { test } from './fixtures.js'

const ID = '0192f0c4-1111-7000-8000-00000000000a'
const OTHER = '0192f0c4-2222-7000-8000-00000000000b'
const LATER = '2030-01-02T03:04:05Z'

interface Sends {
  readonly argv: readonly string[]
  readonly method: string
  readonly path: string
  readonly body?: unknown
}

const closingFlags = [
  ...['--summary', 'all done', '--result', '{"n":1}', '--openclaw-task-ref', 'task-1', '--openclaw-session-key', 'agent:x'],
  ...['--events', '[{"topic":"a.b"}]', '--follow-ups', '[{"target_agent":"devops","subject":"next"}]'],
  ...['--findings', '[{"topic":"disk.full","subject_key":"h1","body":"full"}]'],
]
const closingBody = {
  summary: 'all done',
  result: { n: 1 },
  openclaw_task_ref: 'task-1',
  openclaw_session_key: 'agent:x',
  events: [{ topic: 'a.b' }],
  follow_ups: [{ target_agent: 'devops', subject: 'next' }],
  findings: [{ topic: 'disk.full', subject_key: 'h1', body: 'full' }],
}

/** Options that exclude others of the same command. */
const INSTEAD: Readonly<Record<string, Sends | readonly Sends[]>> = {
  trace: {
    argv: ['--agent', 'devops', '--from', LATER, '--to', LATER, '--prompts', 'true'],
    method: 'GET',
    path: `/v1/trace?agent=devops&from=${encodeURIComponent(LATER)}&to=${encodeURIComponent(LATER)}&prompts=true`,
  },
  'cancel-flow': [
    { argv: ['--flow-key', 'nightly', '--reason', 'why'], method: 'POST', path: '/v1/flows/cancel', body: { flow_key: 'nightly', reason: 'why' } },
    { argv: ['--workflow-run-id', ID, '--reason', 'why'], method: 'POST', path: '/v1/flows/cancel', body: { workflow_run_id: ID, reason: 'why' } },
    { argv: ['--job-id', ID, '--reason', 'why'], method: 'POST', path: '/v1/flows/cancel', body: { job_id: ID, reason: 'why' } },
  ],
  'enqueue-job': {
    argv: ['--subject', 'look', '--capability', 'code', '--capability', 'review'],
    method: 'POST',
    path: '/v1/jobs',
    body: { subject: 'look', capabilities: ['code', 'review'] },
  },
}

function insteadOf(name: string): readonly Sends[] {
  return [INSTEAD[name] ?? []].flat()
}

/** Every command with every option it has, and the request it must make. */
const EXPECTED: Readonly<Record<string, Sends>> = {
  'enqueue-job': {
    argv: [
      ...['--namespace', 'ns', '--parent-job-id', ID, '--flow-key', 'f', '--correlation-key', 'c', '--source-agent', 'auditor', '--target-agent', 'devops'],
      ...['--job-type', 'review', '--subject', 'look', '--lane', 'coding', '--priority', '900', '--dedupe-key', 'd', '--payload', '{"a":1}', '--state', '{"b":2}'],
      ...['--run-after', LATER, '--max-attempts', '3', '--timeout-seconds', '60', '--lease-seconds', '90', '--on-lost', 'block', '--on-dependency-death', 'run'],
      ...['--depends-on', ID, '--depends-on', OTHER],
    ],
    method: 'POST',
    path: '/v1/jobs',
    body: {
      ...{ namespace: 'ns', parent_job_id: ID, flow_key: 'f', correlation_key: 'c', source_agent: 'auditor', target_agent: 'devops', job_type: 'review', subject: 'look' },
      ...{ lane: 'coding', priority: 900, dedupe_key: 'd', payload: { a: 1 }, state: { b: 2 }, run_after: LATER, max_attempts: 3, timeout_seconds: 60, lease_seconds: 90 },
      ...{ on_lost: 'block', on_dependency_death: 'run', depends_on: [ID, OTHER] },
    },
  },
  'enqueue-jobs': {
    argv: ['--jobs', '[{"target_agent":"devops","subject":"one"}]'],
    method: 'POST',
    path: '/v1/job-batches',
    body: { jobs: [{ target_agent: 'devops', subject: 'one' }] },
  },
  'enqueue-graph': {
    argv: ['--jobs', '[{"key":"a","target_agent":"devops","subject":"one"}]'],
    method: 'POST',
    path: '/v1/job-graphs',
    body: { jobs: [{ key: 'a', target_agent: 'devops', subject: 'one' }] },
  },
  'emit-event': {
    argv: ['--namespace', 'ns', '--topic', 'a.b', '--source-agent', 'auditor', '--source-job-id', ID, '--dedupe-key', 'd', '--correlation-key', 'c', '--payload', '{"a":1}'],
    method: 'POST',
    path: '/v1/events',
    body: { namespace: 'ns', topic: 'a.b', source_agent: 'auditor', source_job_id: ID, dedupe_key: 'd', correlation_key: 'c', payload: { a: 1 } },
  },
  'mark-running-job': {
    argv: [ID, '--openclaw-task-ref', 't', '--openclaw-session-key', 's', '--openclaw-meta', '{"m":1}', '--summary', 'begun'],
    method: 'POST',
    path: `/v1/jobs/${ID}/mark-running`,
    body: { openclaw_task_ref: 't', openclaw_session_key: 's', openclaw_meta: { m: 1 }, summary: 'begun' },
  },
  'complete-job': { argv: [ID, ...closingFlags], method: 'POST', path: `/v1/jobs/${ID}/complete`, body: closingBody },
  'block-job': {
    argv: [
      ...[ID, '--blocked-reason', 'no key', '--blocked-owner', 'ops', '--unblock-action', 'send it', '--look-again-at', LATER, '--waits-for', '{"kind":"event","topic":"k.sent"}'],
      ...['--patience-seconds', '600'],
      ...closingFlags,
    ],
    method: 'POST',
    path: `/v1/jobs/${ID}/block`,
    body: {
      ...closingBody,
      ...{ blocked_reason: 'no key', blocked_owner: 'ops', unblock_action: 'send it', look_again_at: LATER, waits_for: { kind: 'event', topic: 'k.sent' }, patience_seconds: 600 },
    },
  },
  'fail-job': {
    argv: [ID, '--last-error', 'broken', '--retry-seconds', '30', ...closingFlags],
    method: 'POST',
    path: `/v1/jobs/${ID}/fail`,
    body: { ...closingBody, last_error: 'broken', retry_seconds: 30 },
  },
  'renew-job-lease': { argv: [ID, '--lease-seconds', '700'], method: 'POST', path: `/v1/jobs/${ID}/renew`, body: { lease_seconds: 700 } },
  'progress-job': {
    argv: [ID, '--note', 'half way', '--details', '{"pct":50}'],
    method: 'POST',
    path: `/v1/jobs/${ID}/progress`,
    body: { note: 'half way', details: { pct: 50 } },
  },
  'claim-jobs': {
    argv: ['--namespace', 'ns', '--lease-owner', 'me', '--lease-seconds', '60', '--limit', '2', '--target-agent', 'devops'],
    method: 'POST',
    path: '/v1/jobs/claim',
    body: { namespace: 'ns', lease_owner: 'me', lease_seconds: 60, limit: 2, target_agent: 'devops' },
  },
  'requeue-expired': { argv: ['--namespace', 'ns', '--limit', '10'], method: 'POST', path: '/v1/jobs/requeue-expired', body: { namespace: 'ns', limit: 10 } },
  'cancel-job': { argv: [ID, '--reason', 'why'], method: 'POST', path: `/v1/jobs/${ID}/cancel`, body: { reason: 'why' } },
  'retry-job': {
    argv: [ID, '--reason', 'why', '--extra-attempts', '2', '--run-after', LATER],
    method: 'POST',
    path: `/v1/jobs/${ID}/retry`,
    body: { reason: 'why', extra_attempts: 2, run_after: LATER },
  },
  'bury-job': { argv: [ID, '--reason', 'why'], method: 'POST', path: `/v1/jobs/${ID}/bury`, body: { reason: 'why' } },
  'promote-job': { argv: [ID, '--reason', 'why'], method: 'POST', path: `/v1/jobs/${ID}/promote`, body: { reason: 'why' } },
  'pause-agent': { argv: ['devops', '--reason', 'why'], method: 'POST', path: '/v1/agents/devops/pause', body: { reason: 'why' } },
  'resume-agent': { argv: ['devops', '--reason', 'why'], method: 'POST', path: '/v1/agents/devops/resume', body: { reason: 'why' } },
  controls: { argv: [], method: 'GET', path: '/v1/controls' },
  'controls-history': {
    argv: ['--scope', 'lane', '--target', 'idle', '--limit', '5', '--cursor', '7'],
    method: 'GET',
    path: '/v1/controls/history?scope=lane&target=idle&limit=5&cursor=7',
  },
  'cancel-flow': {
    argv: ['--correlation-key', 'matter-1', '--namespace', 'default', '--reason', 'why', '--running', 'cancel'],
    method: 'POST',
    path: '/v1/flows/cancel',
    body: { correlation_key: 'matter-1', namespace: 'default', reason: 'why', running: 'cancel' },
  },
  'force-retry': {
    argv: [ID, '--reason', 'why', '--extra-attempts', '2'],
    method: 'POST',
    path: `/v1/jobs/${ID}/retry`,
    body: { force: true, reason: 'why', extra_attempts: 2 },
  },
  'force-dead': { argv: [ID, '--reason', 'why'], method: 'POST', path: `/v1/jobs/${ID}/dead`, body: { reason: 'why' } },
  'pause-lane': { argv: ['coding', '--reason', 'why'], method: 'POST', path: '/v1/lanes/coding/pause', body: { reason: 'why' } },
  'resume-lane': { argv: ['coding', '--reason', 'why'], method: 'POST', path: '/v1/lanes/coding/resume', body: { reason: 'why' } },
  jobs: {
    argv: [
      ...['--namespace', 'ns', '--target-agent', 'devops', '--status', 'dead', '--flow-key', 'f', '--correlation-key', 'c', '--parent-job-id', ID, '--limit', '5', '--cursor', 'x'],
    ],
    method: 'GET',
    path: `/v1/jobs?namespace=ns&target_agent=devops&status=dead&flow_key=f&correlation_key=c&parent_job_id=${ID}&limit=5&cursor=x`,
  },
  job: { argv: [ID], method: 'GET', path: `/v1/jobs/${ID}` },
  result: { argv: [ID, '--wait', '2s'], method: 'GET', path: `/v1/jobs/${ID}/result?wait=2s` },
  history: { argv: [ID], method: 'GET', path: `/v1/jobs/${ID}/history` },
  attempt: { argv: [ID], method: 'GET', path: `/v1/attempts/${ID}` },
  prompt: { argv: [ID], method: 'GET', path: `/v1/attempts/${ID}/prompt` },
  events: {
    argv: ['--namespace', 'ns', '--topic', 'a.*', '--source-job-id', ID, '--order', 'desc', '--limit', '5', '--cursor', 'x'],
    method: 'GET',
    path: `/v1/events?namespace=ns&topic=a.*&source_job_id=${ID}&order=desc&limit=5&cursor=x`,
  },
  'start-standing-order': {
    argv: [ID, '--openclaw-task-ref', 't', '--openclaw-session-key', 's', '--summary', 'begun'],
    method: 'POST',
    path: `/v1/jobs/${ID}/start-standing-order`,
    body: { openclaw_task_ref: 't', openclaw_session_key: 's', summary: 'begun' },
  },
  'finish-standing-order': {
    argv: [
      ...[ID, '--outcome', 'blocked', '--summary', 'looked', '--evidence', '{"n":1}', '--blocked-reason', 'no key', '--blocked-owner', 'ops', '--last-error', 'broken'],
      ...['--events', '[{"topic":"a.b"}]', '--follow-ups', '[{"target_agent":"devops","subject":"next"}]'],
      ...['--findings', '[{"topic":"disk.full","subject_key":"h1","body":"full"}]'],
    ],
    method: 'POST',
    path: `/v1/jobs/${ID}/finish-standing-order`,
    body: {
      ...{ outcome: 'blocked', summary: 'looked', evidence: { n: 1 }, blocked_reason: 'no key', blocked_owner: 'ops', last_error: 'broken' },
      ...{ events: [{ topic: 'a.b' }], follow_ups: [{ target_agent: 'devops', subject: 'next' }] },
      ...{ findings: [{ topic: 'disk.full', subject_key: 'h1', body: 'full' }] },
    },
  },
  'standing-orders': { argv: ['--agent', 'devops'], method: 'GET', path: '/v1/standing-orders?agent=devops' },
  blocked: { argv: ['--namespace', 'ns', '--agent', 'devops', '--limit', '5', '--cursor', 'x'], method: 'GET', path: '/v1/blocked?namespace=ns&agent=devops&limit=5&cursor=x' },
  'unblock-job': { argv: [ID, '--reason', 'why', '--answer', '{"a":1}'], method: 'POST', path: `/v1/jobs/${ID}/unblock`, body: { reason: 'why', answer: { a: 1 } } },
  subscriptions: { argv: ['--agent', 'devops', '--namespace', 'ns'], method: 'GET', path: '/v1/subscriptions?agent=devops&namespace=ns' },
  'disable-subscription': { argv: ['on-alert', '--namespace', 'ns'], method: 'DELETE', path: '/v1/subscriptions/on-alert?namespace=ns' },
  reactions: {
    argv: ['--event-id', '7', '--job-id', ID, '--status', 'cut', '--limit', '5', '--cursor', 'x'],
    method: 'GET',
    path: `/v1/reactions?event_id=7&job_id=${ID}&status=cut&limit=5&cursor=x`,
  },
  approvals: {
    argv: ['--namespace', 'ns', '--status', 'expired', '--limit', '5', '--cursor', 'x'],
    method: 'GET',
    path: '/v1/approvals?namespace=ns&status=expired&limit=5&cursor=x',
  },
  approval: { argv: [ID], method: 'GET', path: `/v1/approvals/${ID}` },
  approve: { argv: [ID, '--note', 'go'], method: 'POST', path: `/v1/approvals/${ID}/approve`, body: { note: 'go' } },
  reject: { argv: [ID, '--note', 'no'], method: 'POST', path: `/v1/approvals/${ID}/reject`, body: { note: 'no' } },
  trace: { argv: ['--job-id', ID, '--correlation-key', 'c'], method: 'GET', path: `/v1/trace?job_id=${ID}&correlation_key=c` },
  workflows: { argv: [], method: 'GET', path: '/v1/workflows' },
  workflow: { argv: ['release', '--version', '2', '--namespace', 'ns'], method: 'GET', path: '/v1/workflows/release?version=2&namespace=ns' },
  'start-workflow': {
    argv: ['release', '--namespace', 'ns', '--inputs', '{"v":1}', '--version', '2', '--dedupe-key', 'd', '--correlation-key', 'c', '--source-agent', 'auditor'],
    method: 'POST',
    path: '/v1/workflows/release/runs?namespace=ns',
    body: { inputs: { v: 1 }, version: 2, dedupe_key: 'd', correlation_key: 'c', source_agent: 'auditor' },
  },
  'workflow-runs': {
    argv: ['--namespace', 'ns', '--workflow', 'release', '--status', 'failed', '--limit', '5', '--cursor', 'x'],
    method: 'GET',
    path: '/v1/workflow-runs?namespace=ns&workflow=release&status=failed&limit=5&cursor=x',
  },
  'workflow-run': { argv: [ID], method: 'GET', path: `/v1/workflow-runs/${ID}` },
  'cancel-workflow': { argv: [ID, '--reason', 'why', '--running', 'cancel'], method: 'POST', path: `/v1/workflow-runs/${ID}/cancel`, body: { reason: 'why', running: 'cancel' } },
  alerts: { argv: ['--status', 'any', '--rule', 'dead', '--limit', '5', '--cursor', 'x'], method: 'GET', path: '/v1/alerts?status=any&rule=dead&limit=5&cursor=x' },
  alert: { argv: [ID], method: 'GET', path: `/v1/alerts/${ID}` },
  'acknowledge-alert': { argv: [ID, '--reason', 'mine'], method: 'POST', path: `/v1/alerts/${ID}/acknowledge`, body: { reason: 'mine' } },
  'silence-alert': {
    argv: ['dead', '--until', LATER, '--reason', 'known', '--subject', 'devops'],
    method: 'POST',
    path: '/v1/alert-rules/dead/silence',
    body: { until: LATER, reason: 'known', subject: 'devops' },
  },
  'alert-silences': { argv: [], method: 'GET', path: '/v1/alert-silences' },
  'lift-silence': { argv: [ID, '--reason', 'over'], method: 'POST', path: `/v1/alert-silences/${ID}/lift`, body: { reason: 'over' } },
  'test-alert': { argv: ['dead'], method: 'POST', path: '/v1/alert-rules/dead/test', body: {} },
  'disable-standing-order': { argv: ['devops/disk-check'], method: 'DELETE', path: '/v1/standing-orders/devops/disk-check' },
  slots: {
    argv: ['--order', 'devops/x', '--agent', 'devops', '--status', 'missed', '--from', LATER, '--to', LATER, '--limit', '5', '--cursor', 'x'],
    method: 'GET',
    path: `/v1/standing-order-runs?order=devops%2Fx&agent=devops&status=missed&from=${encodeURIComponent(LATER)}&to=${encodeURIComponent(LATER)}&limit=5&cursor=x`,
  },
  slot: { argv: [ID], method: 'GET', path: `/v1/standing-order-runs/${ID}` },
  accountability: {
    argv: ['--from', LATER, '--to', LATER, '--agent', 'devops'],
    method: 'GET',
    path: `/v1/accountability?from=${encodeURIComponent(LATER)}&to=${encodeURIComponent(LATER)}&agent=devops`,
  },
  'file-finding': {
    argv: [
      ...['--namespace', 'ns', '--topic', 'disk.full', '--subject-key', 'h1', '--level', 'urgent', '--body', 'full', '--data', '{"used":91}'],
      ...['--to', 'coordinator', '--since', LATER, '--source-agent', 'auditor'],
    ],
    method: 'POST',
    path: '/v1/findings',
    body: {
      ...{ namespace: 'ns', topic: 'disk.full', subject_key: 'h1', level: 'urgent', body: 'full', data: { used: 91 } },
      ...{ to: 'coordinator', since: LATER, source_agent: 'auditor' },
    },
  },
  'read-inbox': {
    argv: ['--agent', 'devops', '--topic', 'disk.full', '--limit', '5', '--seconds', '60'],
    method: 'POST',
    path: '/v1/inbox/read',
    body: { agent: 'devops', topic: 'disk.full', limit: 5, seconds: 60 },
  },
  'acknowledge-inbox': {
    argv: ['--id', ID, '--id', OTHER, '--outcome', 'dismissed', '--note', 'known'],
    method: 'POST',
    path: '/v1/inbox/acknowledge',
    body: { ids: [ID, OTHER], outcome: 'dismissed', note: 'known' },
  },
  'settle-finding': { argv: [ID, '--note', 'over'], method: 'POST', path: `/v1/findings/${ID}/settle`, body: { note: 'over' } },
  inbox: {
    argv: ['--agent', 'devops', '--status', 'unread', '--limit', '5', '--cursor', 'x'],
    method: 'GET',
    path: '/v1/inbox?agent=devops&status=unread&limit=5&cursor=x',
  },
  findings: {
    argv: ['--agent', 'devops', '--topic', 'disk.full', '--subject-key', 'h1', '--status', 'open', '--limit', '5', '--cursor', 'x'],
    method: 'GET',
    path: '/v1/findings?agent=devops&topic=disk.full&subject_key=h1&status=open&limit=5&cursor=x',
  },
  finding: { argv: [ID], method: 'GET', path: `/v1/findings/${ID}` },
  'append-project-log': {
    argv: ['shop', '--namespace', 'ns', '--entry', 'shipped', '--details', '{"version":"2.0"}'],
    method: 'POST',
    path: '/v1/projects/shop/log',
    body: { namespace: 'ns', entry: 'shipped', details: { version: '2.0' } },
  },
  'project-log': { argv: ['shop', '--namespace', 'ns', '--limit', '5', '--cursor', '7'], method: 'GET', path: '/v1/projects/shop/log?namespace=ns&limit=5&cursor=7' },
  'set-project-status': {
    argv: ['shop', '--namespace', 'ns', '--status', 'on track', '--body', '# Shop'],
    method: 'PUT',
    path: '/v1/projects/shop/status',
    body: { namespace: 'ns', status: 'on track', body: '# Shop' },
  },
  'project-status': { argv: ['shop', '--namespace', 'ns'], method: 'GET', path: '/v1/projects/shop/status?namespace=ns' },
  'project-statuses': { argv: ['shop', '--namespace', 'ns', '--limit', '5', '--cursor', '7'], method: 'GET', path: '/v1/projects/shop/statuses?namespace=ns&limit=5&cursor=7' },
  projects: {
    argv: ['--namespace', 'ns', '--limit', '5', '--cursor', 'ns/shop'],
    method: 'GET',
    path: '/v1/projects?namespace=ns&limit=5&cursor=ns%2Fshop',
  },
  'create-idea': {
    argv: [
      ...['--namespace', 'ns', '--source-agent', 'devops', '--theme', 'onboarding', '--title', 'a guide', '--body', 'write one', '--tags', '["docs"]'],
      ...['--evidence', '{"asked":3}', '--dedupe-key', 'guide'],
    ],
    method: 'POST',
    path: '/v1/ideas',
    body: {
      namespace: 'ns',
      source_agent: 'devops',
      theme: 'onboarding',
      title: 'a guide',
      body: 'write one',
      tags: ['docs'],
      evidence: { asked: 3 },
      dedupe_key: 'guide',
    },
  },
  ideas: {
    argv: ['--namespace', 'ns', '--status', 'new', '--source-agent', 'devops', '--theme', 'onboarding', '--tag', 'docs', '--limit', '5', '--cursor', ID],
    method: 'GET',
    path: `/v1/ideas?namespace=ns&status=new&source_agent=devops&theme=onboarding&tag=docs&limit=5&cursor=${ID}`,
  },
  idea: { argv: [ID], method: 'GET', path: `/v1/ideas/${ID}` },
  'review-idea': { argv: [ID, '--notes', 'read it'], method: 'POST', path: `/v1/ideas/${ID}/review`, body: { notes: 'read it' } },
  'archive-idea': { argv: [ID, '--notes', 'done already'], method: 'POST', path: `/v1/ideas/${ID}/archive`, body: { notes: 'done already' } },
  'promote-idea-to-opportunity': {
    argv: [
      ...[ID, '--why-now', 'three ask', '--impact-score', '4', '--confidence-score', '3', '--urgency-score', '2', '--reversibility', 'high'],
      ...['--suggested-next-step', 'draft it', '--owner-candidate', 'devops', '--theme', 'onboarding', '--title', 'a guide', '--evidence', '{"asked":3}'],
      ...['--dedupe-key', 'guide', '--notes', 'worth it'],
    ],
    method: 'POST',
    path: `/v1/ideas/${ID}/promote`,
    body: {
      why_now: 'three ask',
      impact_score: 4,
      confidence_score: 3,
      urgency_score: 2,
      reversibility: 'high',
      suggested_next_step: 'draft it',
      owner_candidate: 'devops',
      theme: 'onboarding',
      title: 'a guide',
      evidence: { asked: 3 },
      dedupe_key: 'guide',
      notes: 'worth it',
    },
  },
  'create-opportunity': {
    argv: [
      ...['--namespace', 'ns', '--source-agent', 'devops', '--theme', 'onboarding', '--title', 'a guide', '--why-now', 'three ask', '--evidence', '{"asked":3}'],
      ...['--impact-score', '4', '--confidence-score', '3', '--urgency-score', '2', '--reversibility', 'high', '--owner-candidate', 'devops'],
      ...['--suggested-next-step', 'draft it', '--dedupe-key', 'guide'],
    ],
    method: 'POST',
    path: '/v1/opportunities',
    body: {
      namespace: 'ns',
      source_agent: 'devops',
      theme: 'onboarding',
      title: 'a guide',
      why_now: 'three ask',
      evidence: { asked: 3 },
      impact_score: 4,
      confidence_score: 3,
      urgency_score: 2,
      reversibility: 'high',
      owner_candidate: 'devops',
      suggested_next_step: 'draft it',
      dedupe_key: 'guide',
    },
  },
  opportunities: {
    argv: ['--namespace', 'ns', '--status', 'new', '--open', 'true', '--source-agent', 'devops', '--theme', 'onboarding', '--limit', '5', '--cursor', ID],
    method: 'GET',
    path: `/v1/opportunities?namespace=ns&status=new&open=true&source_agent=devops&theme=onboarding&limit=5&cursor=${ID}`,
  },
  opportunity: { argv: [ID], method: 'GET', path: `/v1/opportunities/${ID}` },
  'triage-opportunity': {
    argv: [ID, '--decision', 'rejected', '--notes', 'no evidence'],
    method: 'POST',
    path: `/v1/opportunities/${ID}/triage`,
    body: { decision: 'rejected', notes: 'no evidence' },
  },
  'convert-opportunity': {
    argv: [ID, '--target-agent', 'devops', '--subject', 'draft it', '--job-type', 'docs', '--priority', '200', '--payload', '{"pages":2}', '--notes', 'go'],
    method: 'POST',
    path: `/v1/opportunities/${ID}/convert`,
    body: { target_agent: 'devops', subject: 'draft it', job_type: 'docs', priority: 200, payload: { pages: 2 }, notes: 'go' },
  },
  'create-memory-candidate': {
    argv: [
      ...['--namespace', 'ns', '--source-agent', 'devops', '--candidate-kind', 'lesson', '--scope', 'service', '--subject-key', 'db', '--title', 'vacuum first'],
      ...['--body', 'then reindex', '--evidence', '{"jobs":2}', '--source-refs', '{"job":"j1"}', '--confidence-score', '4', '--stability', 'stable'],
      ...['--visibility', 'role_limited', '--visible-to', 'devops', '--visible-to', 'security', '--dedupe-key', 'vacuum'],
    ],
    method: 'POST',
    path: '/v1/memory-candidates',
    body: {
      namespace: 'ns',
      source_agent: 'devops',
      candidate_kind: 'lesson',
      scope: 'service',
      subject_key: 'db',
      title: 'vacuum first',
      body: 'then reindex',
      evidence: { jobs: 2 },
      source_refs: { job: 'j1' },
      confidence_score: 4,
      stability: 'stable',
      visibility: 'role_limited',
      visible_to: ['devops', 'security'],
      dedupe_key: 'vacuum',
    },
  },
  'memory-candidates': {
    argv: [
      ...['--namespace', 'ns', '--status', 'new', '--source-agent', 'devops', '--candidate-kind', 'lesson', '--scope', 'service', '--subject-key', 'db'],
      ...['--limit', '5', '--cursor', ID],
    ],
    method: 'GET',
    path: `/v1/memory-candidates?namespace=ns&status=new&source_agent=devops&candidate_kind=lesson&scope=service&subject_key=db&limit=5&cursor=${ID}`,
  },
  'memory-candidate': { argv: [ID], method: 'GET', path: `/v1/memory-candidates/${ID}` },
  'review-memory-candidate': {
    argv: [ID, '--decision', 'rejected', '--notes', 'seen once'],
    method: 'POST',
    path: `/v1/memory-candidates/${ID}/review`,
    body: { decision: 'rejected', notes: 'seen once' },
  },
  'promote-memory-candidate': {
    argv: [
      ...[ID, '--kind', 'playbook', '--scope', 'service', '--subject-key', 'db', '--title', 'vacuum first', '--body', 'then reindex', '--confidence-score', '5'],
      ...['--stability', 'stable', '--visibility', 'role_limited', '--visible-to', 'devops', '--expires-at', LATER, '--next-review-at', LATER],
      ...['--supersedes-memory-id', OTHER, '--supersedes-version', '3', '--dedupe-key', 'vacuum', '--notes', 'confirmed'],
    ],
    method: 'POST',
    path: `/v1/memory-candidates/${ID}/promote`,
    body: {
      kind: 'playbook',
      scope: 'service',
      subject_key: 'db',
      title: 'vacuum first',
      body: 'then reindex',
      confidence_score: 5,
      stability: 'stable',
      visibility: 'role_limited',
      visible_to: ['devops'],
      expires_at: LATER,
      next_review_at: LATER,
      supersedes_memory_id: OTHER,
      supersedes_version: 3,
      dedupe_key: 'vacuum',
      notes: 'confirmed',
    },
  },
  memories: {
    argv: [...['--namespace', 'ns', '--status', 'active', '--kind', 'lesson', '--scope', 'service', '--subject-key', 'db', '--due', 'true'], ...['--limit', '5', '--cursor', ID]],
    method: 'GET',
    path: `/v1/memories?namespace=ns&status=active&kind=lesson&scope=service&subject_key=db&due=true&limit=5&cursor=${ID}`,
  },
  memory: { argv: [ID], method: 'GET', path: `/v1/memories/${ID}` },
  'refresh-memory': {
    argv: [ID, '--notes', 'still so', '--next-review-at', LATER, '--expires-at', 'none', '--confidence-score', '5'],
    method: 'POST',
    path: `/v1/memories/${ID}/refresh`,
    body: { notes: 'still so', next_review_at: LATER, expires_at: null, confidence_score: 5 },
  },
  'mark-memory-stale': { argv: [ID, '--notes', 'the service moved'], method: 'POST', path: `/v1/memories/${ID}/mark-stale`, body: { notes: 'the service moved' } },
  'expire-memory': { argv: [ID, '--notes', 'over'], method: 'POST', path: `/v1/memories/${ID}/retire`, body: { as: 'expired', notes: 'over' } },
  'archive-memory': { argv: [ID, '--notes', 'over'], method: 'POST', path: `/v1/memories/${ID}/retire`, body: { as: 'archived', notes: 'over' } },
  agents: { argv: [], method: 'GET', path: '/v1/agents' },
  gateways: { argv: [], method: 'GET', path: '/v1/gateways' },
  lanes: { argv: [], method: 'GET', path: '/v1/lanes' },
  dispatchers: { argv: [], method: 'GET', path: '/v1/dispatchers' },
  health: { argv: [], method: 'GET', path: '/v1/health' },
}

/** What the real API's own schemas say of a request; undefined when it has no such route. */
function faultsByTheApi(request: SeenRequest): readonly string[] | undefined {
  const url = new URL(request.path, 'http://x')
  const matching = routes.filter((route) => {
    const pattern = new RegExp(`^${route.path.replace(/\{\w+\}/g, '[^/]+')}$`)
    return route.method === request.method.toLowerCase() && pattern.test(url.pathname)
  })
  const route = matching.find((candidate) => candidate.path === url.pathname) ?? matching[0]
  if (route === undefined) return undefined
  const parsed = [route.spec.body?.safeParse(request.body), route.spec.query?.safeParse(Object.fromEntries(url.searchParams))]
  return parsed.flatMap((result) => result?.error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) ?? [])
}

describe('every command', () => {
  test('is in this table', () => {
    expect(Object.keys(EXPECTED).sort()).toEqual(COMMANDS.map((row) => row.name).sort())
  })

  for (const row of COMMANDS) {
    test(`${row.name}: the table here uses all its options`, () => {
      const words = [...(EXPECTED[row.name]?.argv ?? []), ...insteadOf(row.name).flatMap(({ argv }) => argv)]
      const used = new Set(words.filter((word) => word.startsWith('--')))

      expect([...used].sort()).toEqual(row.options.map((option) => `--${option.flag}`).sort())
    })
  }

  for (const [name, sends] of [...Object.entries(EXPECTED), ...Object.keys(INSTEAD).flatMap((name) => insteadOf(name).map((sends) => [name, sends] as const))]) {
    test(`${[name, ...sends.argv].join(' ').slice(0, 40)} sends ${sends.method} ${sends.path.split('?')[0]}, and the API takes it`, async ({ api, cli }) => {
      const ran = await cli([name, ...sends.argv, '--json'])

      expect(ran).toMatchObject({ code: 0, stderr: '' })
      const [seen] = api.seen
      expect(seen).toMatchObject({ method: sends.method, path: sends.path })
      expect(seen?.body).toEqual(sends.body)
      expect(seen?.headers.authorization).toBe(`Bearer ${TOKEN}`)
      expect(seen === undefined ? undefined : faultsByTheApi(seen)).toEqual([])
    })
  }

  for (const [name, sends] of Object.entries(EXPECTED)) {
    test(`${name} --json writes the answer as JSON and nothing else`, async ({ api, cli }) => {
      const answer = { id: ID, items: [{ id: ID, text: 'a\u001b[31m\u009bred' }], next_cursor: null }
      api.always({ status: 200, body: answer })

      const ran = await cli([name, ...sends.argv, '--json'])

      expect(JSON.parse(ran.stdout)).toEqual(answer)
      expect(ran.stdout).not.toMatch(/[\u001b\u009b]/)
      expect(ran.stderr).toBe('')
    })

    test(`${name} writes text for people that cannot steer their terminal`, async ({ api, cli }) => {
      const hostile = 'x\u001b[2J\u009b31m\u202ey'
      const row = { id: hostile, topic: hostile, subject: hostile, body: hostile, summary: hostile, host: hostile, error: hostile, reason: hostile, note: hostile }
      api.always({ status: 200, body: { ...row, items: [row], job: row, transitions: [row], open: [row], gateways: [row] } })

      const ran = await cli([name, ...sends.argv])

      expect(ran.code).toBe(0)
      expect(ran.stdout).not.toBe('')
      expect(ran.stdout).not.toMatch(/[\u001b\u009b\u202e]/)
    })
  }

  test('only writes carry an Idempotency-Key', async ({ api, cli }) => {
    for (const [name, sends] of Object.entries(EXPECTED)) await cli([name, ...sends.argv])

    const keyed = api.seen.filter((seen) => seen.headers['idempotency-key'] !== undefined)
    expect(new Set(keyed.map((seen) => seen.method))).toEqual(new Set(['POST', 'PUT', 'DELETE']))
    expect(keyed.length).toBe(Object.values(EXPECTED).filter((sends) => sends.method !== 'GET').length)
    expect(new Set(keyed.map((seen) => seen.headers['idempotency-key'])).size).toBe(keyed.length)
  })
})

describe('headers and addresses', () => {
  test('--idempotency-key and --if-version become headers', async ({ api, cli }) => {
    await cli(['cancel-job', ID, '--reason', 'why', '--idempotency-key', 'mine-1', '--if-version', '7'])

    expect(api.seen[0]?.headers).toMatchObject({ 'idempotency-key': 'mine-1', 'if-match': '"7"' })
  })

  test('--if-version becomes a header of a PUT too', async ({ api, cli }) => {
    await cli(['set-project-status', 'shop', '--status', 'on track', '--if-version', '7'])

    expect(api.seen[0]).toMatchObject({ method: 'PUT', headers: { 'if-match': '"7"' }, body: { status: 'on track' } })
  })

  test('--url and --token win over the environment', async ({ api, cli }) => {
    await cli(['agents', '--url', `${api.url}/prefix/`, '--token', 'aat_theattempts'], { env: { AGENTBUS_URL: 'http://127.0.0.1:1', AGENTBUS_TOKEN: 'other' } })

    expect(api.seen[0]).toMatchObject({ path: '/prefix/v1/agents', headers: { authorization: 'Bearer aat_theattempts' } })
  })

  test('a broken setting of the server does not stop a client', async ({ cli }) => {
    const ran = await cli(['agents'], { env: { DATABASE_URL: '', AGENTBUS_PORT: 'many' } })

    expect(ran.code).toBe(0)
  })

  for (const id of ['..', '.', '', 'a/b', '../agents', 'a b', '%2e%2e', TOKEN]) {
    test(`${JSON.stringify(id.slice(0, 8))} as an id is refused before anything is sent`, async ({ api, cli }) => {
      const ran = await cli(['cancel-job', '--reason', 'why', '--', id])

      expect(ran.code).toBe(2)
      expect(ran.stderr).toContain('<job-id> is')
      expect(api.seen).toEqual([])
    })
  }
})

for (const key of ['devops', 'devops/', '/x', 'devops/a/b', '../x', 'devops/..', 'devops/Upper', TOKEN]) {
  test(`${JSON.stringify(key.slice(0, 12))} as a standing order is refused before anything is sent`, async ({ api, cli }) => {
    const ran = await cli(['disable-standing-order', '--', key])

    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain('<agent/name> is')
    expect(ran.stderr).not.toContain(TOKEN)
    expect(api.seen).toEqual([])
  })
}

for (const project of ['..', 'a/b', '', '-x', 'p'.repeat(101), TOKEN]) {
  test(`${JSON.stringify(project.slice(0, 12))} as a project is refused before anything is sent`, async ({ api, cli }) => {
    const ran = await cli(['append-project-log', '--entry', 'x', '--', project])

    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain('<project> is')
    expect(ran.stderr).not.toContain(TOKEN)
    expect(api.seen).toEqual([])
  })
}

test('an entry is shown whole, and no line of it can pass for the head of another', async ({ api, cli }) => {
  const entry = { id: '7', at: LATER, actor_kind: 'agent', actor: 'devops', job_id: null, details: {}, entry: `${'long '.repeat(200)}\n8  ${LATER}  operator  anna` }
  api.always({ status: 200, body: { items: [entry], next_cursor: null } })

  const { stdout } = await cli(['project-log', 'shop'])

  expect(stdout).toBe(`7  ${LATER}  agent  devops\n    ${'long '.repeat(200)}\n    8  ${LATER}  operator  anna\n`)
})

describe('pages', () => {
  test('--all follows the cursors to the end and keeps the filters', async ({ api, cli }) => {
    api.answers(
      { status: 200, body: { items: [{ id: 1 }], next_cursor: 'two' } },
      { status: 200, body: { items: [{ id: 2 }], next_cursor: 'three' } },
      { status: 200, body: { items: [{ id: 3 }], next_cursor: null } },
    )

    const ran = await cli(['jobs', '--status', 'dead', '--all', '--json'])

    expect(JSON.parse(ran.stdout)).toEqual({ items: [{ id: 1 }, { id: 2 }, { id: 3 }], next_cursor: null })
    expect(api.seen.map((seen) => seen.path)).toEqual(['', '&cursor=two', '&cursor=three'].map((cursor) => `/v1/jobs?status=dead&limit=200${cursor}`))
  })

  test('--all begins at --cursor', async ({ api, cli }) => {
    await cli(['events', '--all', '--cursor', 'middle'])

    expect(api.seen[0]?.path).toBe('/v1/events?cursor=middle&limit=200')
  })

  test('a cursor that comes twice ends the loop with an error', async ({ api, cli }) => {
    api.always({ status: 200, body: { items: [], next_cursor: 'again' } })

    const ran = await cli(['jobs', '--all'])

    expect(ran).toMatchObject({ code: 1, stdout: '' })
  })

  test('a page that is not the last says how to go on', async ({ api, cli }) => {
    api.always({ status: 200, body: { items: [{ id: ID, status: 'dead' }], next_cursor: 'more' } })

    expect((await cli(['jobs'])).stdout).toMatch(/more: --cursor more\n$/)
  })
})
