import { afterAll, beforeAll, expect, test } from 'vitest'
import { exactPrompt } from '../../cli/hook-prompts.js'
import type { ApprovalView } from '../../contracts/approvals.js'
import type { AttemptId } from '../../contracts/ids.js'
import type { JobView } from '../../contracts/jobs.js'
import type { Script } from './model.js'
import { startRealBus, type RealBus } from './real-bus.js'
import { agentbus, agentbusAsAgent, asAgents, dataIn, holding, running } from './scripts.js'

let t: RealBus
beforeAll(async () => {
  t = await startRealBus()
  await t.startWorker()
  await t.giveToken('devops')
})
afterAll(() => t.stop())

const QUESTION = 'May left-pad 2.0 go into the release?'
/** Less than the time limit of the exec tool, which would kill the command. */
const WAIT = '50s'

/** The one approval that waits for a person, as a person finds it. */
async function asked(): Promise<ApprovalView> {
  let found: ApprovalView | undefined
  const look = async (): Promise<number> => {
    const { items } = JSON.parse(await t.agentbus('approvals', '--json')) as { items: ApprovalView[] }
    found = items[0]
    return items.length
  }
  await expect.poll(look, { timeout: 60_000, interval: 500 }).toBe(1)
  return found as ApprovalView
}

/** The jobs of one matter, oldest first. */
async function about(correlation_key: string): Promise<readonly JobView[]> {
  const { items } = await t.ledger.listJobs({ correlation_key, limit: 10 })
  return items.toReversed()
}

/** What an attempt was told as data, out of the very bytes that it was sent. */
async function toldTo(attempt: { readonly id: string } | undefined): Promise<Record<string, unknown>> {
  const { body } = await exactPrompt(t.ledger, attempt?.id as AttemptId)
  return dataIn((JSON.parse(body) as { message: string }).message)
}

function answerIn(data: Record<string, unknown>): Record<string, unknown> {
  return data['answer'] as Record<string, unknown>
}

/** What `agentbus trace` prints, cell by cell, without times and without what workers did. */
async function story(...which: readonly string[]): Promise<{ readonly head: string; readonly jobs: readonly string[]; readonly entries: readonly string[] }> {
  const printed = await t.agentbus('trace', ...which)
  const lines = printed.split('\n').map((line) => line.trimEnd().replaceAll(/(?<=\S) {2,}/g, ' | '))
  return {
    head: lines[0] ?? '',
    jobs: lines.filter((line) => line.includes('█')).map((line) => line.replace(/[ |]*█.*/, '')),
    entries: lines.flatMap((line) => /^\d{4}-\S+Z \| (.*)$/.exec(line)?.[1] ?? []).filter((line) => !line.includes(' | worker ')),
  }
}

test('an agent asks another and waits; that one asks a person; the answer goes back through both', async () => {
  const key = 'release-42'
  const seen: Record<string, unknown>[] = []
  const asking = running((turn) => agentbus(turn, 'block-job', '--blocked-reason', 'a person must decide', '--waits-for', JSON.stringify({ kind: 'approval', subject: QUESTION })))
  const answering = running((turn) => {
    const { decision, note } = answerIn(dataIn(turn.prompt))
    return agentbus(turn, 'complete-job', '--summary', 'asked a person', '--result', JSON.stringify({ decision, note }))
  })
  const auditor: Script = (turn) => {
    if (turn.results.length === 0) seen.push(dataIn(turn.prompt))
    return turn.order.attemptNo === 1 ? asking(turn) : answering(turn)
  }
  const devops = running(
    (turn) => agentbusAsAgent(turn, 'delegate', 'auditor', QUESTION, '--wait', WAIT, '--parent-job-id', turn.order.jobId, '--correlation-key', key, '--json'),
    (turn) => {
      const { result } = JSON.parse(turn.results[0] ?? '') as JobView
      return agentbus(turn, 'complete-job', '--summary', 'released', '--result', JSON.stringify({ left_pad: result }))
    },
  )
  t.model.follow(asAgents({ devops, auditor }))
  const { id } = await t.enqueue({ subject: 'release 42', correlation_key: key })

  const approval = await asked()
  await t.agentbus('approve', approval.id, '--note', "only if it's pinned")
  await t.until(id, (j) => j.status === 'succeeded')

  const jobs = await about(key)
  const [whole, lineage] = [await story('--correlation-key', key), await story('--job-id', id)]
  const [mine, theirs] = await Promise.all(jobs.map((job) => t.ledger.jobHistory(job.id)))
  const decided = await t.ledger.approvalHistory(approval.id)
  const told = await toldTo(theirs?.attempts[1])
  const child = jobs[1]?.id ?? ''
  const [a, b] = [id.slice(-6), child.slice(-6)]

  expect(jobs).toMatchObject([
    { id, status: 'succeeded', target_agent: 'devops', result: { left_pad: { decision: 'approved', note: "only if it's pinned" } } },
    {
      parent_job_id: id,
      status: 'succeeded',
      source_agent: 'devops',
      target_agent: 'auditor',
      created_by: 'agent:devops',
      result: { decision: 'approved', note: "only if it's pinned" },
    },
  ])
  expect(mine?.attempts).toMatchObject([{ attempt_no: 1, status: 'succeeded', outcome_code: 'completed_by_agent' }])
  expect(theirs?.attempts).toMatchObject([
    { attempt_no: 1, status: 'blocked', outcome_code: 'blocked_by_agent', burned: false },
    { attempt_no: 2, status: 'succeeded', outcome_code: 'completed_by_agent', burned: true },
  ])
  expect([mine?.observations, theirs?.observations]).toEqual([[], []])
  expect(decided).toMatchObject({
    approval: { subject: QUESTION, agent: 'auditor', job_id: child, correlation_key: key, status: 'approved', decided_by: 'operator:openclaw-test', note: "only if it's pinned" },
    transitions: [
      { seq: 1, to_status: 'pending', actor_kind: 'attempt', actor: 'auditor' },
      { seq: 2, to_status: 'approved', actor_kind: 'operator', actor: 'openclaw-test', note: "only if it's pinned" },
    ],
  })
  expect(answerIn(told)).toEqual({ kind: 'approval', approval_id: approval.id, decision: 'approved', decided_by: 'operator:openclaw-test', note: "only if it's pinned" })
  expect(seen).toEqual([await toldTo(theirs?.attempts[0]), told])
  expect(seen[0]).not.toHaveProperty('answer')
  expect(whole.head).toBe(`Correlation ${key}`)
  expect(whole.jobs).toEqual([`${id} | - → devops | succeeded | release 42`, `  ${child} | devops → auditor | succeeded | ${QUESTION}`])
  expect(whole.entries).toEqual([
    `${a} | devops | queued (created) | operator openclaw-test | -`,
    `${b} | auditor | queued (created) | agent devops | -`,
    `${b} | auditor | approval pending: ${QUESTION} | attempt auditor | -`,
    `${b} | auditor | event approvals.asked | attempt auditor | -`,
    `${b} | auditor | blocked (blocked_by_agent) | attempt auditor | a person must decide`,
    `${b} | auditor | approval approved: ${QUESTION} | operator openclaw-test | only if it's pinned`,
    `${b} | auditor | event approvals.approved | operator openclaw-test | -`,
    `${b} | auditor | queued (condition_met) | operator openclaw-test | The approval was approved.`,
    `${b} | auditor | succeeded (completed_by_agent) | attempt auditor | asked a person`,
    `${a} | devops | succeeded (completed_by_agent) | attempt devops | released`,
  ])
  expect(lineage).toEqual(whole)
})

test('an agent that does not wait blocks on the job it asked for, and is told what came of it', async () => {
  const key = 'release-43'
  const held = holding(
    () => true,
    running((turn) => agentbus(turn, 'complete-job', '--summary', 'looked', '--result', '{"risk": "low"}')),
  )
  const asking = running(
    // Without --parent-job-id, so that only the key ties the two together.
    (turn) => agentbusAsAgent(turn, 'delegate', 'auditor', QUESTION, '--wait', '50ms', '--correlation-key', key),
    (turn) => {
      const job_id = /agentbus result (\S+) --wait/.exec(turn.results[0] ?? '')?.[1]
      return agentbus(turn, 'block-job', '--blocked-reason', 'the auditor looks', '--waits-for', JSON.stringify({ kind: 'job', job_id }))
    },
  )
  const going = running((turn) => {
    const { status, result } = answerIn(dataIn(turn.prompt))
    return agentbus(turn, 'complete-job', '--summary', 'released', '--result', JSON.stringify({ left_pad: { status, result } }))
  })
  t.model.follow(asAgents({ auditor: held.script, devops: (turn) => (turn.order.attemptNo === 1 ? asking(turn) : going(turn)) }))
  const { id } = await t.enqueue({ subject: 'release 43', correlation_key: key })

  const blocked = await t.until(id, (j) => j.status === 'blocked')
  held.release()
  await t.until(id, (j) => j.status === 'succeeded')

  const jobs = await about(key)
  const [whole, lineage] = [await story('--correlation-key', key), await story('--job-id', id)]
  const attempts = await t.ledger.jobAttempts(id)
  const told = await toldTo(attempts[1])
  const other = jobs[1]?.id ?? ''

  expect(blocked.waits_for).toEqual({ kind: 'job', job_id: other })
  expect(jobs).toMatchObject([
    { id, status: 'succeeded', result: { left_pad: { status: 'succeeded', result: { risk: 'low' } } } },
    { parent_job_id: null, status: 'succeeded', source_agent: 'devops', target_agent: 'auditor', result: { risk: 'low' } },
  ])
  expect(attempts).toMatchObject([
    { attempt_no: 1, status: 'blocked', burned: false },
    { attempt_no: 2, status: 'succeeded', burned: true },
  ])
  expect(answerIn(told)).toMatchObject({ kind: 'job', job_id: other, agent: 'auditor', status: 'succeeded', summary: 'looked', result: { risk: 'low' } })
  expect(whole.jobs).toEqual([`${id} | - → devops | succeeded | release 43`, `${other} | devops → auditor | succeeded | ${QUESTION}`])
  expect(lineage.jobs).toEqual([`${id} | - → devops | succeeded | release 43`])
  expect(lineage.entries).toEqual(whole.entries.filter((entry) => entry.startsWith(id.slice(-6))))
})
