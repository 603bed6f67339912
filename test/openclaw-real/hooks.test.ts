import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exactPrompt } from '../../cli/hook-prompts.js'
import type { AgentId, AttemptId } from '../../contracts/ids.js'
import { agentbus, completing, running } from './scripts.js'
import { startRealBus, type RealBus } from './real-bus.js'

let t: RealBus
beforeAll(async () => {
  t = await startRealBus()
  await t.startWorker()
})
afterAll(() => t.stop())

describe('a real agent', () => {
  test('closes a job that came over REST, from its exec tool, and the ledger shows every step', async () => {
    t.model.follow(
      running(
        (turn) => agentbus(turn, 'mark-running-job'),
        (turn) => agentbus(turn, 'progress-job', '--note', 'half way'),
        (turn) => agentbus(turn, 'renew-job-lease', '--lease-seconds', '600'),
        (turn) => agentbus(turn, 'complete-job', '--summary', 'looked at both disks', '--result', '{"free": [12, 80]}'),
      ),
    )
    const job = await t.enqueue({ subject: "the agent's disks", payload: { hosts: ['a', 'b'] } })

    const done = await t.until(job.id, (j) => j.status === 'succeeded')

    const { transitions, attempts, observations } = await t.ledger.jobHistory(job.id)
    expect(done).toMatchObject({ result: { free: [12, 80] }, attempt_count: 1 })
    expect(transitions.map((row) => `${row.seq} ${row.to_status} ${row.reason}`)).toEqual([
      '1 queued created',
      '2 leased leased',
      '3 running admitted',
      '4 running marked_running',
      '5 running progress',
      '6 running lease_renewed',
      '7 succeeded completed_by_agent',
    ])
    expect(attempts).toMatchObject([{ attempt_no: 1, status: 'succeeded', outcome_code: 'completed_by_agent', burned: true }])
    expect(observations).toEqual([])
    expect(t.model.runsOf(job.id)).toHaveLength(1)
  })

  test('hands work to another agent in its closing command, and that agent closes it', async () => {
    const followUps = JSON.stringify([{ target_agent: 'auditor', subject: 'check the work' }])
    const events = JSON.stringify([{ topic: 'work.done', payload: { note: "it's done" } }])
    const handingOn = running((turn) => agentbus(turn, 'complete-job', '--summary', 'done', '--follow-ups', followUps, '--events', events))
    t.model.follow((turn) => (turn.prompt.includes('check the work') ? completing(turn) : handingOn(turn)))
    const job = await t.enqueue({ subject: 'do the work' })

    await t.until(job.id, (j) => j.status === 'succeeded')

    const { items } = await t.ledger.listJobs({ target_agent: 'auditor' as AgentId, limit: 10 })
    const followUp = items.find((item) => item.subject === 'check the work')
    if (followUp === undefined) throw new Error('the follow-up is not in the ledger')
    const done = await t.until(followUp.id, (j) => j.status === 'succeeded')
    expect(done.source_agent).toBe('devops')
    const said = await t.ledger.listEvents({ topic: 'work.done', order: 'asc', limit: 10 })
    expect(said.items).toMatchObject([{ payload: { note: "it's done" } }])
  })

  test('that closes a second time is told so by exit code 5, and the refusal is a row', async () => {
    const heard: string[] = []
    const closingTwice = running(
      (turn) => agentbus(turn, 'complete-job', '--summary', 'done'),
      (turn) => `${agentbus(turn, 'fail-job', '--last-error', 'a change of mind')}; echo "exit code $?"`,
    )
    t.model.follow((turn) => {
      heard.splice(0, heard.length, ...turn.results)
      return closingTwice(turn)
    })
    const job = await t.enqueue()

    await t.until(job.id, (j) => j.status === 'succeeded')

    await expect.poll(() => heard[1], { timeout: 20_000 }).toContain('exit code 5')
    const { observations } = await t.ledger.jobHistory(job.id)
    expect(observations).toMatchObject([{ kind: 'late_answer', code: 'AGENTBUS_ALREADY_CLOSED' }])
  })

  test('that never closes leaves a failed attempt "ended_without_terminal_write"', async () => {
    t.model.follow(() => ({ say: 'I have replied, so it is done.' }))
    const job = await t.enqueue({ max_attempts: 1 })

    const dead = await t.until(job.id, (j) => j.status === 'dead')

    expect(dead.last_error_code).toBe('ended_without_terminal_write')
    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ status: 'failed', outcome_code: 'ended_without_terminal_write', burned: true }])
    expect(t.model.runsOf(job.id)).toHaveLength(1)
  })
})

test('the model is given the contract and the skill where it trusts them, and the order, byte for byte, where it does not', async () => {
  const seen: { system: string; prompt: string }[] = []
  t.model.follow((turn) => {
    seen.push({ system: turn.system, prompt: turn.prompt })
    return completing(turn)
  })
  const job = await t.enqueue({ payload: { text: 'quotes " and \' and \\ and `$(id)`\nand ünïcödé \u2028 <tags>' } })

  await t.until(job.id, (j) => j.status === 'succeeded')

  const attempt = (await t.ledger.jobAttempts(job.id))[0]
  const sent = await exactPrompt(t.ledger, attempt?.id as AttemptId)
  const { message } = JSON.parse(sent.body) as { message: string }
  expect(seen[0]?.system).toContain('# House rules')
  expect(seen[0]?.system).toContain('<!-- agentbus:begin v')
  expect(seen[0]?.system).toContain('Carry out and close work orders of agentbus, the work bus of this host')
  expect(seen[0]?.prompt).toContain('EXTERNAL, UNTRUSTED')
  expect(seen[0]?.prompt).toContain(message.trim())
})

describe('a hook that the gateway refuses blocks the job with its words and burns nothing', () => {
  test.each([
    ['a wrong hook token', 'stranger', '401', 'Unauthorized'],
    ['an agent that it does not know', 'ghost', '400', 'nobody'],
  ])('%s', async (_what, target_agent, status, words) => {
    const job = await t.enqueue({ target_agent })

    const blocked = await t.until(job.id, (j) => j.status === 'blocked')

    expect(blocked.blocked_reason).toContain(`with ${status}`)
    expect(blocked.blocked_reason).toContain(words)
    expect(blocked.attempt_count).toBe(0)
    expect(await t.ledger.jobAttempts(job.id)).toMatchObject([{ outcome_code: 'refused_by_gateway', burned: false }])
    expect(t.model.runsOf(job.id)).toHaveLength(0)
  })
})
