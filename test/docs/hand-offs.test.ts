import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseFleet, parseWorkflow } from '../../config/fleet-file.js'
import { BlockJobBody, CompleteJobBody } from '../../contracts/closings.js'
import { StartWorkflowBody, WorkflowDefinition } from '../../contracts/workflows.js'
import { startApi, type TestApi } from '../api/support.js'
import { run, type Ran } from '../cli/stand-in.js'
import { aJob, OPERATOR, type TestJob } from '../support/ledger.js'

let api: TestApi
let folder: string
beforeAll(async () => {
  api = await startApi()
  for (const id of ['coordinator', 'publisher', 'auditor', 'project-tracker']) await api.t.addAgent(id, { concurrency: 100, capabilities: ['review'] })
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-docs-'))
  await writeFile(path.join(folder, 'subscription.yaml'), 'agent: devops\ntopic: security.*\nfilter: { level: high }\n')
})
afterAll(async () => {
  await api.close()
  await rm(folder, { recursive: true, force: true })
})

/** The examples of a page, in their order: shell lines, and fenced blocks by language. */
async function examples(file: string): Promise<{ readonly kind: 'sh' | 'yaml' | 'sql'; readonly text: string }[]> {
  const text = await readFile(file, 'utf8')
  return [...text.matchAll(/^ {4}agentbus (.+)$|```(yaml|sql)\n([\s\S]*?)```/gm)].map(([, shell, language, block]) =>
    shell === undefined ? { kind: language as 'yaml' | 'sql', text: block ?? '' } : { kind: 'sh' as const, text: shell },
  )
}

/** The words of a shell line: quoted with ' or ", or not at all. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, single, double, plain]) => single ?? double ?? plain ?? '')
}

const cli = (argv: readonly string[], token = api.t.operatorToken): Promise<Ran> => run(argv, { cwd: folder, env: { AGENTBUS_URL: api.url, AGENTBUS_TOKEN: token } })

const block = (job: TestJob, waits_for?: Record<string, unknown>) => api.t.ledger.jobs.block(job.as, job.id, BlockJobBody.parse({ blocked_reason: 'waits', waits_for }))

async function anApproval(): Promise<string> {
  await block(await aJob(api.t.ledger, 'running'), { kind: 'approval' })
  return String((await api.t.ledger.listApprovals({ limit: 1 })).items[0]?.id)
}

async function aRun(): Promise<string> {
  const workflow = WorkflowDefinition.parse({ name: 'small', steps: [{ id: 'a', agent: 'devops' }] })
  await api.t.ledger.workflows.define(OPERATOR, workflow)
  return (await api.t.ledger.workflows.start(OPERATOR, workflow, StartWorkflowBody.parse({}))).run.run.id
}

/** What stands for each `<place>` of a line, and with whose token it is run. */
async function placesOf(line: string): Promise<{ places: Record<string, string>; token: string | undefined }> {
  const closes = /^(complete|block)-job/.test(line)
  const job = line.includes('<job>') ? await aJob(api.t.ledger, closes ? 'running' : 'succeeded') : undefined
  const places: Record<string, string> = { job: job?.id ?? '' }
  if (line.includes('<other-job>')) places['other-job'] = (await aJob(api.t.ledger, 'running')).id
  if (line.includes('<held-job>')) places['held-job'] = (await aJob(api.t.ledger, 'running')).id
  if (line.includes('matter-1')) await aJob(api.t.ledger, 'queued', { correlation_key: 'matter-1' })
  if (line.includes('<blocked-job>')) places['blocked-job'] = (await aJob(api.t.ledger, 'blocked')).id
  if (line.includes('<approval>')) places['approval'] = await anApproval()
  if (line.includes('<run>')) places['run'] = await aRun()
  return { places, token: closes ? job?.attemptToken : undefined }
}

async function runLine(line: string): Promise<Ran> {
  const { places, token } = await placesOf(line)
  const filled = line.replace(/<([a-z-]+)>/g, (_place, name: string) => places[name] ?? '')
  const argv = words(filled).map((word) => (word.startsWith('workflows/') ? path.resolve(word) : word))
  if (!line.startsWith('delegate')) return cli(argv, token)
  const asked = cli(argv)
  const agent = argv[1] as never
  // Whoever it was delegated to does it.
  await expect.poll(async () => (await api.t.ledger.listJobs({ target_agent: agent, status: 'queued', limit: 1 })).items.length).toBe(1)
  const [claimed] = (await api.t.ledger.claimJobs(OPERATOR, { namespace: 'default', lease_owner: 'x', lease_seconds: 60, limit: 1, target_agent: agent })).items
  if (claimed === undefined) throw new Error('nothing was claimed')
  const as = { caller: { role: 'attempt' as const, attemptId: claimed.attempt.id, jobId: claimed.job.id, agentId: claimed.attempt.agent_id } }
  await api.t.ledger.jobs.complete(as, claimed.job.id, CompleteJobBody.parse({}))
  return asked
}

const BASE = `
gateways: [{ id: main, base_url: 'http://127.0.0.1:1', token: env:X }]
`
const OTHERS = ['coordinator', 'project-tracker', 'publisher', 'auditor', 'security']

/** Puts a part of a fleet file in force, as it stands in the page. */
async function apply(text: string): Promise<void> {
  const named = /- id: (\S+)/.exec(text)?.[1]
  const others = [...OTHERS, 'devops'].filter((id) => id !== named).map((id) => `  - { id: ${id}, gateway: main, concurrency: 100, capabilities: [review] }`)
  const parsed = parseFleet(`${BASE}${named === undefined ? 'agents:\n' : ''}${text.startsWith('agents:') ? '' : `${others.join('\n')}\n`}${text}${text.startsWith('agents:') ? `${others.join('\n')}\n` : ''}`)
  if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
  await api.t.ledger.applyFleet(OPERATOR, parsed.fleet, { dryRun: false, prune: false })
  // The examples after it need more of its places than the page gives it.
  await api.t.addAgent('devops', { concurrency: 100 })
}

describe.each(['docs/handoffs.md', 'docs/workflows.md', 'docs/controls.md'])('%s', (file) => {
  test('every example does what it is there for, in the order of the page', async () => {
    const list = await examples(file)
    expect(list.length).toBeGreaterThan(10)
    for (const { kind, text } of list) {
      if (kind === 'sql') await api.t.database.pool.query(text)
      else if (kind === 'sh') {
        const ran = await runLine(text)
        expect({ text, code: ran.code, stderr: ran.stderr }).toEqual({ text, code: 0, stderr: '' })
        expect(ran.stdout).not.toBe('')
      } else if (text.startsWith('name:')) {
        const parsed = parseWorkflow(text)
        if ('faults' in parsed) throw new Error(JSON.stringify(parsed.faults))
        await api.t.ledger.workflows.define(OPERATOR, parsed.workflow)
      } else await apply(text)
    }
  })
})

test('the event of the page made the job that the page says', async () => {
  const { items } = await api.t.ledger.listReactions({ status: 'made', limit: 5 })
  const job = await api.t.ledger.getJob(items[0]?.job_id as never)

  expect(job).toMatchObject({ subject: 'Look at web-1: open port', payload: { host: 'web-1', said_by: null }, priority: 800 })
})

test('the workflow of the repository is the one in the page, with more words', async () => {
  const [page, file] = [parseWorkflow(/```yaml\n([\s\S]*?)```/.exec(await readFile('docs/workflows.md', 'utf8'))?.[1] ?? ''), parseWorkflow(await readFile('workflows/release.yaml', 'utf8'))]
  if ('faults' in page || 'faults' in file) throw new Error('not valid')

  expect(file.workflow.steps.map(({ id, needs, on_failure }) => ({ id, needs, on_failure }))).toEqual(page.workflow.steps.map(({ id, needs, on_failure }) => ({ id, needs, on_failure })))
})
