import type { ChildProcess } from 'node:child_process'
import { afterEach, expect, test } from 'vitest'
import { parseWorkflow } from '../../config/fleet-file.js'
import { EmitEventBody } from '../../contracts/events.js'
import { CreateJobBody } from '../../contracts/jobs.js'
import { StartWorkflowBody, type WorkflowRunHistory } from '../../contracts/workflows.js'
import { BACKEND } from '../support/bus.js'
import { startCluster, type Cluster } from '../support/cluster.js'
import { OPERATOR } from '../support/ledger.js'
import { IS_LONG } from '../support/long.js'

/** Kills in a row, on each queue backend. */
const KILLS = IS_LONG ? 50 : 2

let c: Cluster
afterEach(() => c.stop())

/** Of the shape of a design study: a manager, branches side by side, one of which hands work on, a gate, and a report. */
const STUDY = `
name: study
inputs: { subject: {} }
steps:
  - { id: plan, agent: manager, subject: "Plan {{inputs.subject}}" }
  - { id: research, agent: lead, needs: [plan], payload: { delegate: true } }
  - { id: optimise, agent: optimiser, needs: [plan] }
  - { id: review, capabilities: [review], needs: [plan] }
  - { id: gate, needs: [research, optimise, review], approval: { subject: "Publish {{inputs.subject}}?" } }
  - { id: report, agent: secretary, needs: [gate], payload: { from: "{{steps.research.result.found}}" } }
outputs: { found: "{{steps.research.result.found}}" }
`

async function startStudy(n: number): Promise<WorkflowRunHistory> {
  const { run } = await c.ledger.workflows.start(
    OPERATOR,
    { namespace: 'default', name: 'study' },
    StartWorkflowBody.parse({ inputs: { subject: `mirror ${n}` }, correlation_key: `study-${n}` }),
  )
  return run
}

/** What is wrong with a run that has ended: a step or a job that happened twice, or not at all. */
async function faultsOf(run: WorkflowRunHistory, n: number): Promise<string[]> {
  const faults: string[] = []
  const { rows: jobs } = await c.database.pool.query<{ job_type: string; subject: string; status: string; succeeded: string }>(
    `select job_type, subject, status, (select count(*) from job_attempts a where a.job_id = j.id and a.status = 'succeeded') as succeeded
     from jobs j where correlation_key = $1 order by subject`,
    [`study-${n}`],
  )
  for (const job of jobs) if (job.status !== 'succeeded' || Number(job.succeeded) !== 1) faults.push(`${job.subject} is ${job.status} with ${job.succeeded} successes`)
  // Five steps that are jobs, and the one that the lead handed on.
  if (jobs.length !== 6) faults.push(`${jobs.length} jobs: ${jobs.map(({ subject }) => subject).join(', ')}`)
  const moves = new Set<string>()
  for (const { step, to_status: to } of run.transitions) {
    if (moves.has(`${step ?? ''} ${to}`)) faults.push(`${step ?? 'the run'} became ${to} twice`)
    moves.add(`${step ?? ''} ${to}`)
  }
  return faults
}

test(
  `a workflow with branches, a sub-delegation and a gate survives kill -9 of every process at a random point, ${KILLS} times in a row`,
  async () => {
    const one = { concurrency: 2 }
    c = await startCluster({ agents: { manager: one, lead: one, optimiser: one, scout: one, secretary: one, critic: { ...one, capabilities: ['review'] } } })
    const parsed = parseWorkflow(STUDY)
    if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
    await c.ledger.workflows.define(OPERATOR, parsed.workflow)
    c.behave(async (run, close, attemptNo) => {
      await run.pause(60)
      // The scout says in its own close whom it has scouted for.
      const scoutedFor = /"scout_for": "([^"]+)"/.exec(run.message)?.[1]
      if (/^Agent: +scout$/m.test(run.message) && scoutedFor !== undefined)
        return close({ complete: { events: [EmitEventBody.parse({ topic: 'scouted', payload: { scout_for: scoutedFor } })] } })
      if (!run.message.includes('"delegate": true') || attemptNo > 1) return close({ complete: { result: { found: 'a crack' } } })
      // The lead hands its research on and goes on when the scout's word is there.
      const own = /^agentbus job:\s+(\S+)$/m.exec(run.message)?.[1] ?? ''
      const followUp = CreateJobBody.parse({ target_agent: 'scout', subject: 'Look closely', payload: { scout_for: own } })
      return close({ block: { blocked_reason: 'the scout looks', waits_for: { kind: 'event', topic: 'scouted', filter: { scout_for: own } }, follow_ups: [followUp] } })
    })
    const tookMs: number[] = []
    const killedAtMs: number[] = []

    for (let n = 0; n < KILLS; n += 1) {
      let workers: ChildProcess[] = await Promise.all([c.spawn('worker'), c.spawn('worker')])
      const startedMs = performance.now()
      const { run } = await startStudy(n)
      const killAfterMs = Math.round(Math.random() * 1_200)
      await new Promise((resolve) => setTimeout(resolve, killAfterMs))
      for (const worker of workers) worker.kill('SIGKILL')
      await c.claimsRunOut()
      killedAtMs.push(killAfterMs)
      workers = await Promise.all([c.spawn('worker'), c.spawn('worker')])
      // A person approves when asked.
      await c.until(
        `run ${n} ends`,
        async () => {
          for (const approval of (await c.ledger.listApprovals({ limit: 5 })).items) await c.ledger.handOffs.decide(OPERATOR, approval.id, 'approved', 'go')
          return (await c.ledger.runHistory(run.id)).run.status !== 'running'
        },
        60_000,
      )
      tookMs.push(Math.round(performance.now() - startedMs))
      const ended = await c.ledger.runHistory(run.id)
      expect({ n, killAfterMs, status: ended.run.status, outputs: ended.run.outputs, faults: await faultsOf(ended, n) }).toEqual({
        n,
        killAfterMs,
        status: 'succeeded',
        outputs: { found: 'a crack' },
        faults: [],
      })
      for (const worker of workers) worker.kill('SIGKILL')
    }
    console.log(`[${BACKEND}] workflow: killed after ${killedAtMs.join(', ')} ms; each run took ${Math.min(...tookMs)} to ${Math.max(...tookMs)} ms`)
  },
  90_000 + KILLS * 30_000,
)
