import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { COMMANDS } from '../../cli/client/command-table.js'
import { uuidv7, type AttemptId, type JobId } from '../../contracts/ids.js'
import { alertRules } from '../support/alerts.js'
import { anIdleWriter } from '../support/idle-writer.js'
import { aJob, aSlot, OPERATOR } from '../support/ledger.js'
import { startApi, type TestApi } from '../api/support.js'
import { run, type Ran, type RunOptions } from './stand-in.js'

let api: TestApi
let folder: string
beforeAll(async () => {
  api = await startApi()
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-cli-'))
})
beforeEach(() => {
  // A minute later nobody is throttled for what the test before did.
  api.clock.nowMs += 61_000
})
afterAll(async () => {
  await api.close()
  await rm(folder, { recursive: true, force: true })
})

/** Every command and word of it that was run here. */
const used = new Set<string>()

/** Runs a command against the real API, signed in as operator unless `env` says otherwise. */
function cli(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  used.add(argv[0] === 'token' ? `token ${argv[1] ?? ''}` : (argv[0] ?? ''))
  return run(argv, { cwd: folder, ...options, env: { AGENTBUS_URL: api.url, AGENTBUS_TOKEN: api.t.operatorToken, ...options.env } })
}

/** What a command says with --json: the answer on stdout, nothing on stderr. */
async function answer(argv: readonly string[], options: RunOptions = {}): Promise<Record<string, unknown>> {
  const ran = await cli([...argv, '--json'], options)
  expect({ argv, code: ran.code, stderr: ran.stderr }).toEqual({ argv, code: 0, stderr: '' })
  return JSON.parse(ran.stdout) as Record<string, unknown>
}

const ENQUEUE = ['enqueue-job', '--target-agent', 'devops', '--subject', 'from the shell']
const NOBODY = '0192f0c4-1111-7000-8000-00000000000a'

async function claimed(namespace: string): Promise<{ id: string; token: string }> {
  await answer([...ENQUEUE, '--namespace', namespace])
  const { items } = (await answer(['claim-jobs', '--lease-owner', 'shell', '--namespace', namespace])) as { items: { job: { id: string }; attempt_token: string }[] }
  const [item] = items
  if (item === undefined) throw new Error('nothing was claimed')
  return { id: item.job.id, token: item.attempt_token }
}

describe('alerts, from the shell', () => {
  test('they are listed, shown, acknowledged, silenced and tested', async () => {
    await aJob(api.t.ledger, 'dead', { max_attempts: 1 })
    await alertRules(api.t.ledger, [{ clear_for_seconds: 3_600 }])
    await api.t.ledger.alerts.evaluate()
    await api.t.ledger.alerts.tellAgent('w1')

    const listed = await cli(['alerts'])
    const { items } = (await answer(['alerts'])) as { items: { id: string }[] }
    const id = String(items[0]?.id)
    const acknowledged = await answer(['acknowledge-alert', id, '--reason', 'on it'])
    const again = await cli(['acknowledge-alert', id, '--reason', 'on it'])
    const shown = await cli(['alert', id])
    const silenced = await cli(['silence-alert', 'dead-letters', '--until', new Date(Date.now() + 60_000).toISOString(), '--reason', 'moving'])
    const silence = ((await answer(['alert-silences'])) as { items: { id: string }[] }).items[0]
    const lifted = await answer(['lift-silence', String(silence?.id), '--reason', 'moved'])
    const tested = await cli(['test-alert', 'dead-letters'])
    const unknown = await cli(['test-alert', 'none'])

    expect(listed.stdout).toMatch(/open +warning +dead-letters +devops +1 +0/)
    expect(acknowledged).toMatchObject({ acknowledged_by: 'operator:test-operator', note: 'on it' })
    expect([again.code, again.stderr]).toEqual([5, expect.stringContaining('was acknowledged by operator:test-operator')])
    expect(shown.stdout).toMatch(/acknowledged[^]*opened +agent +devops +delivered/)
    expect(silenced.stdout).toMatch(/rule +dead-letters/)
    expect(lifted).toMatchObject({ lift_reason: 'moved' })
    expect(tested.stdout).toMatch(/test +agent +devops +pending/)
    expect([unknown.code, unknown.stderr]).toEqual([3, expect.stringContaining('no alert rule none')])
  })
})

describe('controls, from the shell', () => {
  test('they are shown while they are in force, and their history says who, what and why', async () => {
    const quiet = await cli(['controls'])
    const set = await cli(['pause', '--agent', 'devops', '--reason', 'maintenance', '--for', '30m'])
    const { items } = (await answer(['controls'])) as { items: Record<string, unknown>[] }
    const shown = await cli(['controls'])
    const lifted = await cli(['resume', '--agent', 'devops', '--reason', 'done'])
    const over = (await answer(['controls'])) as { items: unknown[] }
    const history = (await answer(['controls-history', '--scope', 'agent', '--target', 'devops', '--limit', '1'])) as { items: Record<string, unknown>[]; next_cursor: string }
    const before = (await answer(['controls-history', '--scope', 'agent', '--target', 'devops', '--limit', '1', '--cursor', history.next_cursor])) as typeof history
    const people = await cli(['controls-history', '--scope', 'agent'])
    const wrong = await cli(['controls-history', '--scope', 'planet'])

    expect([quiet.code, quiet.stdout, set.code, lifted.code, over.items]).toEqual([0, 'nothing\n', 0, 0, []])
    expect(items).toMatchObject([{ action: 'pause', scope: 'agent', target: 'devops', by: 'test-operator', reason: 'maintenance', in_force: true }])
    expect(shown.stdout).toMatch(/pause +agent devops .*test-operator .*maintenance/)
    expect(history.items).toMatchObject([{ change: 'resumed', reason: 'done' }])
    expect(before.items).toMatchObject([{ change: 'set', reason: 'maintenance' }])
    expect(people.stdout).toMatch(/resumed[^\n]*done\n[^\n]*set[^\n]*maintenance\n/)
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('scope')])
  })

  test('a drain that is not over says what it waits for', async () => {
    await api.t.addAgent('drained')
    const foreign = await anIdleWriter(api.t.url)

    const set = await cli(['drain', 'drained', '--reason', 'moving'])
    const heldUp = await cli(['controls'])
    await foreign.end()
    const free = await cli(['controls'])
    await cli(['resume', '--agent', 'drained', '--reason', 'moved'])

    expect(set.stdout).toMatch(new RegExp(`^waits_for +1 transaction, since ${foreign.since}$`, 'm'))
    expect(heldUp.stdout).toMatch(/^drain +agent drained .*1 transaction, since .*moving$/m)
    expect(free.stdout).toMatch(/^drain +agent drained .*the next look .*moving$/m)
  })

  test('what belongs together is cancelled by one command, and what runs is left and named', async () => {
    const { id } = await claimed('flow')
    const open = await answer([...ENQUEUE, '--namespace', 'flow', '--correlation-key', 'matter'])
    const child = await answer([...ENQUEUE, '--namespace', 'flow', '--parent-job-id', id])
    const other = await answer([...ENQUEUE, '--namespace', 'flow'])

    const byKey = await answer(['cancel-flow', '--correlation-key', 'matter', '--namespace', 'flow', '--reason', 'not wanted'])
    const left = await cli(['cancel-flow', '--job-id', id, '--reason', 'a wrong turn'])
    const whole = await answer(['cancel-flow', '--job-id', id, '--reason', 'a wrong turn', '--running', 'cancel'])
    const both = await cli(['cancel-flow', '--job-id', id, '--flow-key', 'f', '--reason', 'x'])
    const unknown = await cli(['cancel-flow', '--job-id', NOBODY, '--reason', 'x'])

    expect(byKey).toMatchObject({ cancelled: 1, left_running: 0, jobs: [{ id: open['id'], status: 'cancelled' }] })
    expect([left.code, left.stdout]).toEqual([0, expect.stringMatching(new RegExp(`${id}.*leased`))])
    expect(left.stdout).toMatch(new RegExp(`${String(child['id'])}.*cancelled`))
    expect(whole).toMatchObject({ cancelled: 1, left_running: 0, jobs: [{ id, status: 'cancelled' }] })
    expect([both.code, unknown.code]).toEqual([2, 3])
    expect((await api.t.ledger.getJob(String(other['id']) as JobId)).status).toBe('queued')
  })

  test('a job is retried or made a dead letter whatever it is doing, and the attempt that is cut off is refused', async () => {
    const [hangs, hopeless] = [await claimed('force-retry'), await claimed('force-dead')]

    const plain = await cli(['retry-job', hangs.id, '--reason', 'hangs'])
    const stale = await cli(['force-retry', hangs.id, '--reason', 'hangs', '--if-version', '1'])
    const retried = await answer(['force-retry', hangs.id, '--reason', 'its gateway hangs', '--extra-attempts', '2'])
    const dead = await answer(['force-dead', hopeless.id, '--reason', 'hopeless'])
    const again = await answer(['force-dead', hopeless.id, '--reason', 'hopeless'])
    const late = await Promise.all([hangs, hopeless].map(({ id, token }) => cli(['complete-job', id], { env: { AGENTBUS_TOKEN: token } })))

    expect([plain.code, stale.code]).toEqual([5, 5])
    expect(retried).toMatchObject({ status: 'queued', attempt_count: 0 })
    expect(dead).toMatchObject({ status: 'dead', last_error: 'hopeless' })
    expect([again['status'], again['version']]).toEqual(['dead', dead['version']])
    expect(late.map(({ code }) => code)).toEqual([5, 5])
  })
})

describe('ideas, opportunities and memories, from the shell', () => {
  const SCORES = ['--impact-score', '4', '--confidence-score', '3', '--urgency-score', '2', '--reversibility', 'high', '--suggested-next-step', 'Draft it.']
  const idOf = (of: Record<string, unknown>, name?: string): string => String((name === undefined ? of : (of[name] as Record<string, unknown>))['id'])

  test('an idea is noted once, found by others, looked at, and becomes an opportunity, or is laid aside', async () => {
    const said = ['--theme', 'setup', '--title', 'Set up in pairs', '--body', 'A guided one.', '--tags', '["ux"]', '--evidence', '{"seen":3}']
    const note = ['create-idea', '--source-agent', 'devops', ...said]
    const idea = await answer([...note, '--dedupe-key', 'pairs'])
    const again = await answer([...note, '--dedupe-key', 'pairs'])
    const other = idOf(await answer(note))
    const listed = await cli(['ideas', '--theme', 'setup', '--tag', 'ux'])

    const reviewed = await answer(['review-idea', idOf(idea), '--notes', 'nice', '--if-version', '1'])
    const late = await cli(['archive-idea', idOf(idea), '--if-version', '1'])
    const promoted = await answer(['promote-idea-to-opportunity', idOf(idea), '--why-now', 'Five gave up.', ...SCORES, '--notes', 'it has matured'])
    const over = await cli(['archive-idea', idOf(idea)])
    const archived = await answer(['archive-idea', other, '--notes', 'tried last year'])
    await answer(['create-opportunity', '--theme', 'setup', '--title', 'In pairs', '--why-now', 'Five gave up.', ...SCORES, '--dedupe-key', 'in-pairs'])
    const linked = await cli(['promote-idea-to-opportunity', idOf(await answer(note)), '--why-now', 'Six did.', ...SCORES, '--dedupe-key', 'in-pairs'])
    const shown = await cli(['idea', idOf(idea)])
    const unknown = await cli(['idea', NOBODY])

    expect([idOf(again), idea['tags'], idea['evidence'], reviewed['status'], archived['status']]).toEqual([idOf(idea), ['ux'], { seen: 3 }, 'reviewed', 'archived'])
    expect(listed.stdout).toMatch(new RegExp(`${idOf(idea)} +new +devops +setup +Set up in pairs`))
    expect(promoted).toMatchObject({
      idea: { status: 'promoted_to_opportunity', version: 3 },
      opportunity: { status: 'new', title: 'Set up in pairs', source_agent: 'devops' },
      created: true,
    })
    expect([linked.code, linked.stdout]).toEqual([0, expect.stringContaining('Opportunity, which was open already')])
    expect([late.code, over.code, unknown.code]).toEqual([5, 5, 3])
    expect(shown.stdout).toMatch(/promoted_to_opportunity +operator +test-operator[^\n]*it has matured/)
    expect(shown.stdout).toContain('A guided one.')
  })

  test('an opportunity is proposed, decided about, and turned into one job', async () => {
    const said = ['--theme', 'parser', '--title', 'Drop left-pad', '--why-now', 'Its owner changed.', '--owner-candidate', 'devops']
    const id = idOf(await answer(['create-opportunity', ...said, ...SCORES]))
    const convert = ['convert-opportunity', id, '--target-agent', 'devops', '--subject', 'replace left-pad', '--priority', '120', '--payload', '{"kind":"cleanup","origin":"me"}']

    const silent = await cli(['triage-opportunity', id, '--decision', 'rejected'])
    const accepted = await answer(['triage-opportunity', id, '--decision', 'accepted', '--notes', 'small step'])
    const open = await cli(['opportunities', '--open', 'true', '--theme', 'parser'])
    await cli(['freeze', 'conversions', '--reason', 'audit'])
    const frozen = await cli(convert)
    await cli(['unfreeze', 'conversions', '--reason', 'over'])
    const converted = await answer(convert)
    const again = await cli(convert)
    const shown = await cli(['opportunity', id])

    expect([silent.code, accepted['status'], frozen.code, again.code]).toEqual([2, 'accepted', 5, 5])
    expect(frozen.stderr).toContain('audit')
    expect(open.stdout).toMatch(new RegExp(`${id} +accepted +- +parser +Drop left-pad +4 +3 +2 +high +devops`))
    expect(converted).toMatchObject({
      opportunity: { status: 'converted_to_job', converted_job_id: idOf(converted, 'job') },
      job: { lane: 'proactive', priority: 120, correlation_key: `opportunity:${id}`, payload: { origin: 'opportunity', kind: 'cleanup' } },
    })
    expect(shown.stdout).toMatch(/converted_to_job +operator +test-operator/)
    expect(shown.stdout).toContain('Its owner changed.')
  })

  test('a memory is proposed, promoted from evidence, kept, superseded and ended', async () => {
    const about = ['--candidate-kind', 'lesson', '--scope', 'service', '--subject-key', 'parser', '--confidence-score', '4']
    const said = ['create-memory-candidate', '--source-agent', 'devops', ...about, '--title', 'It leaks', '--body', 'Restart it weekly.']
    const guess = idOf(await answer(said))
    const candidate = await answer([...said, '--evidence', '{"jobs":3}', '--visibility', 'role_limited', '--visible-to', 'devops', '--visible-to', 'security'])
    const better = idOf(await answer([...said, '--source-refs', '{"events":[7]}']))

    const refused = await cli(['promote-memory-candidate', guess])
    const rejected = await answer(['review-memory-candidate', guess, '--decision', 'rejected', '--notes', 'a guess'])
    const listed = await cli(['memory-candidates', '--subject-key', 'parser', '--status', 'new'])
    const promoted = await answer(['promote-memory-candidate', idOf(candidate), '--expires-at', '2099-01-01T00:00:00Z', '--dedupe-key', 'leak', '--notes', 'three incidents'])
    const id = idOf(promoted, 'memory')
    const refreshed = await answer(['refresh-memory', id, '--notes', 'it holds', '--expires-at', 'none', '--next-review-at', '2099-01-01T00:00:00Z', '--confidence-score', '5'])
    const stale = await answer(['mark-memory-stale', id, '--notes', 'a new version is out'])
    const due = await cli(['memories', '--due', 'true', '--scope', 'service'])
    const taken = await cli(['promote-memory-candidate', better, '--dedupe-key', 'leak'])
    const moved = await cli(['promote-memory-candidate', better, '--dedupe-key', 'leak', '--supersedes-memory-id', id, '--supersedes-version', '2'])
    const next = await answer(['promote-memory-candidate', better, '--dedupe-key', 'leak', '--supersedes-memory-id', id, '--supersedes-version', '3'])
    const expired = await answer(['expire-memory', idOf(next, 'memory'), '--notes', 'the leak is fixed'])
    const over = await cli(['archive-memory', id, '--notes', 'x'])
    const other = idOf(await answer([...said, '--evidence', '{"jobs":1}']))
    const unneeded = idOf(await answer(['promote-memory-candidate', other]), 'memory')
    const archived = await answer(['archive-memory', unneeded, '--notes', 'nobody needs it'])
    const shown = [await cli(['memory', id]), await cli(['memory-candidate', idOf(candidate)])]

    expect([refused.code, rejected['status'], taken.code, moved.code, over.code]).toEqual([2, 'rejected', 5, 5, 5])
    expect(refused.stderr).toContain('evidence')
    expect(listed.stdout).toMatch(new RegExp(`${idOf(candidate)} +new +devops +lesson +service +parser +It leaks +4 +role_limited`))
    expect(listed.stdout).not.toContain(guess)
    expect(promoted).toMatchObject({ candidate: { status: 'promoted' }, memory: { status: 'active', visible_to: ['devops', 'security'], owner_agent: 'devops' } })
    expect(refreshed).toMatchObject({ status: 'active', expires_at: null, next_review_at: '2099-01-01T00:00:00.000Z', confidence_score: 5, version: 2 })
    expect([stale['status'], stale['in_force']]).toEqual(['active', true])
    expect(due.stdout).toMatch(new RegExp(`in_force[^]*${id} +active +true +lesson`))
    expect([expired['status'], archived['status']]).toEqual(['expired', 'archived'])
    expect(shown[0]?.stdout).toMatch(/superseded +operator +test-operator/)
    expect(shown[1]?.stdout).toMatch(/promoted +operator +test-operator[^\n]*three incidents/)
    for (const { stdout } of shown) expect(stdout).toContain('Restart it weekly.')
  })
})

describe('hand-offs, from the shell', () => {
  test('a subscription is set from a file, reacts, and is disabled', async () => {
    await writeFile(path.join(folder, 'on-alert.yaml'), 'agent: devops\ntopic: alert.*\nfilter: { level: high }\nsubject: "Alert on {{payload.host}}"\n')
    await writeFile(path.join(folder, 'broken-subscription.yaml'), 'agent: devops\ntopic: alert.*\nas: poem\n')
    const broken = await cli(['set-subscription', 'on-alert', '--file', 'broken-subscription.yaml'])
    const planned = await cli(['set-subscription', 'on-alert', '--file', 'on-alert.yaml', '--dry-run'])
    const set = await answer(['set-subscription', 'on-alert', '--file', 'on-alert.yaml'])

    const event = await answer(['emit-event', '--topic', 'alert.disk', '--payload', '{"level":"high","host":"web-1"}'])
    const { items } = (await answer(['reactions', '--event-id', String(event['id'])])) as { items: { job_id: string; status: string }[] }
    const listed = await cli(['subscriptions', '--agent', 'devops'])
    const off = await answer(['disable-subscription', 'on-alert', '--if-version', '1'])

    expect([broken.code, broken.stderr.split('\n')[0]]).toEqual([2, expect.stringContaining('broken-subscription.yaml:3:5: as:')])
    expect([planned.code, planned.stdout]).toEqual([0, expect.stringContaining('on-alert')])
    expect(set).toMatchObject({ change: { change: 'added' } })
    expect(items).toMatchObject([{ status: 'made' }])
    expect((await api.t.ledger.getJob(items[0]?.job_id as JobId)).subject).toBe('Alert on web-1')
    expect(listed.stdout).toMatch(/on-alert +alert\.\* +devops +job/)
    expect(off).toMatchObject({ change: { change: 'disabled' }, subscription: { enabled: false, version: 2 } })
  })

  test('a subscription and a workflow of another namespace are meant when that is said, and not found when it is not', async () => {
    await writeFile(path.join(folder, 'elsewhere.yaml'), 'namespace: elsewhere\nagent: devops\ntopic: alert.*\nsubject: Alert\n')
    await writeFile(path.join(folder, 'elsewhere-flow.yaml'), 'name: elsewhere-flow\nnamespace: elsewhere\nsteps:\n  - { id: a, agent: devops, subject: Look }\n')
    await answer(['set-subscription', 'on-elsewhere', '--file', 'elsewhere.yaml'])
    await answer(['define-workflow', '--file', 'elsewhere-flow.yaml'])
    const unsaid = [await cli(['disable-subscription', 'on-elsewhere']), await cli(['start-workflow', 'elsewhere-flow'])]
    const off = await answer(['disable-subscription', 'on-elsewhere', '--namespace', 'elsewhere'])
    const run = await answer(['start-workflow', 'elsewhere-flow', '--namespace', 'elsewhere'])

    expect(unsaid.map(({ code }) => code)).toEqual([3, 3])
    expect(off).toMatchObject({ change: { change: 'disabled' }, subscription: { namespace: 'elsewhere', enabled: false } })
    expect(run).toMatchObject({ run: { namespace: 'elsewhere', status: 'running' } })
  })

  test('what is blocked is listed, answered, approved or rejected, and its story told', async () => {
    const [asks, waits, person] = [await claimed('asks'), await claimed('waits'), await claimed('person')]
    for (const { id, token } of [asks, waits]) {
      await answer(['block-job', id, '--blocked-reason', 'may I?', '--waits-for', '{"kind":"approval","subject":"Ship it?"}'], { env: { AGENTBUS_TOKEN: token } })
    }
    await answer(['block-job', person.id, '--blocked-reason', 'which one?', '--patience-seconds', '60'], { env: { AGENTBUS_TOKEN: person.token } })

    const { items } = (await answer(['approvals'])) as { items: { id: string; job_id: string }[] }
    const idOf = (job: string): string => items.find((one) => one.job_id === job)?.id ?? ''
    const list = await cli(['blocked', '--namespace', 'person'])
    const approved = await answer(['approve', idOf(asks.id), '--note', 'go'])
    const rejected = await answer(['reject', idOf(waits.id), '--note', 'not yet'])
    const again = await cli(['approve', idOf(waits.id)])
    const shown = await cli(['approval', idOf(waits.id)])
    const answered = await answer(['unblock-job', person.id, '--reason', 'the blue one', '--answer', '{"colour":"blue"}'])
    const story = await cli(['trace', '--job-id', waits.id])
    const withPrompts = await cli(['trace', '--job-id', waits.id, '--prompts', 'true'])

    expect(list.stdout).toMatch(new RegExp(`${person.id} +devops +\\S+ +person +operator +which one\\?`))
    expect([approved['status'], rejected['status'], again.code]).toEqual(['approved', 'rejected', 5])
    expect(shown.stdout).toContain('not yet')
    expect(answered).toMatchObject({ status: 'queued', answer: { answer: { colour: 'blue' } } })
    for (const part of ['rejected: Ship it?', 'blocked (blocked_by_agent)', 'queued (condition_met)', waits.id, 'told attempt 1 was sent its order'])
      expect(story.stdout).toContain(part)
    expect(story.stdout).not.toContain('Prompt of attempt')
    expect(withPrompts.stdout).toMatch(new RegExp(`Prompt of attempt \\S+ of job ${waits.id}:\njob ${waits.id} attempt \\S+\n`))
  })

  test('a trace shows each job below the one it came from, whatever came in between', async () => {
    const made: string[] = []
    for (const parent of [undefined, 0, 0, 1]) {
      const of = parent === undefined ? [] : ['--parent-job-id', made[parent] ?? '']
      made.push(String((await answer([...ENQUEUE, '--correlation-key', 'tree', ...of]))['id']))
    }
    const [root, left, right, below] = made

    const shown = await cli(['trace', '--correlation-key', 'tree'])

    expect(shown.stdout.match(/^ *[0-9a-f]{8}-[0-9a-f-]{27}/gm)).toEqual([root, `  ${left}`, `    ${below}`, `  ${right}`])
  })

  test('a trace names what a job needs, and has no such column where nothing does', async () => {
    const first = String((await answer(ENQUEUE))['id'])
    const alone = await cli(['trace', '--job-id', first])
    const second = String((await answer([...ENQUEUE, '--depends-on', first]))['id'])

    const both = await cli(['trace', '--job-id', second])

    expect(alone.stdout.split('\n')[0]).toMatch(/^job +from → to +status +subject +when$/)
    expect(both.stdout).toMatch(new RegExp(`^${first} +- → devops +\\S+ +- +from the shell`, 'm'))
    expect(both.stdout).toMatch(new RegExp(`^${second} +- → devops +waiting +${first.slice(-6)} +from the shell`, 'm'))
  })

  test('a workflow is checked, defined, started, looked at and cancelled', async () => {
    await writeFile(
      path.join(folder, 'flow.yaml'),
      'name: shell-flow\ninputs: { what: {} }\nsteps:\n  - { id: a, agent: devops, subject: "{{inputs.what}}" }\n  - { id: b, needs: [a], approval: {} }\n',
    )
    await writeFile(path.join(folder, 'bad-flow.yaml'), 'name: shell-flow\nsteps:\n  - id: a\n    agent: devops\n    needs: [z]\n')

    const bad = await cli(['define-workflow', '--file', 'bad-flow.yaml'])
    const fine = await cli(['define-workflow', '--file', 'flow.yaml', '--check'])
    const defined = await answer(['define-workflow', '--file', 'flow.yaml'])
    const run = await answer(['start-workflow', 'shell-flow', '--inputs', '{"what":"it"}', '--correlation-key', 'shell-1'])
    const id = String((run['run'] as { id: string }).id)
    const shown = await cli(['workflow-run', id])
    const flow = await cli(['workflow', 'shell-flow'])
    const flows = await cli(['workflows'])
    const runs = await cli(['workflow-runs', '--workflow', 'shell-flow'])
    const cancelled = await answer(['cancel-workflow', id, '--reason', 'enough', '--running', 'cancel'])
    const late = await cli(['cancel-workflow', id, '--reason', 'enough'])

    expect([bad.code, bad.stderr.split('\n')[0]]).toEqual([2, expect.stringContaining('bad-flow.yaml:5:13: steps[0].needs[0]: step z is not defined')])
    expect(fine).toMatchObject({ code: 0, stdout: 'workflow shell-flow: 2 steps, no fault\n' })
    expect(defined).toMatchObject({ name: 'shell-flow', version: 1 })
    expect(shown.stdout).toMatch(/a +running +devops +queued/)
    expect(flow.stdout).toMatch(/b +approval +a/)
    expect([flows.stdout, runs.stdout]).toEqual([expect.stringContaining('shell-flow'), expect.stringContaining(id)])
    expect(cancelled).toMatchObject({ run: { status: 'cancelled', last_error: 'enough' }, still_running: [] })
    expect(late.code).toBe(5)
  })

  test('many jobs are enqueued in one go', async () => {
    const made = await cli(['enqueue-jobs', '--jobs', JSON.stringify([1, 2, 3].map((n) => ({ target_agent: 'devops', subject: `of many ${n}`, namespace: 'in-one-go' })))])

    expect(made.stdout).toMatch(/of many 1\n.*of many 2\n.*of many 3\n/)
  })

  test('a graph of jobs is enqueued whole, or refused with the circle in it', async () => {
    const one = (key: string, ...needs: string[]) => ({ key, needs, target_agent: 'devops', subject: key, namespace: 'graph' })
    await writeFile(path.join(folder, 'graph.json'), JSON.stringify([one('c', 'a', 'b'), one('a'), one('b', 'a')]))

    const made = await cli(['enqueue-graph', '--jobs', '@graph.json'])
    const circle = await cli(['enqueue-graph', '--jobs', JSON.stringify([one('x', 'z'), one('y', 'x'), one('z', 'y')])])

    expect(made.stdout).toMatch(/a +\S+ +queued[\s\S]*b +\S+ +waiting[\s\S]*c +\S+ +waiting/)
    expect([circle.code, circle.stderr]).toEqual([expect.any(Number), expect.stringContaining('The jobs need each other in a circle: x → z → y → x.')])
    expect(circle.code).not.toBe(0)
  })

  test('work for whoever is able names what it takes, or is refused', async () => {
    const refused = await cli(['enqueue-job', '--subject', 'fly', '--capability', 'flying'])

    expect(refused.code).not.toBe(0)
    expect(refused.stderr).toContain('No enabled agent has all of: flying.')
  })
})

describe('a job, from the shell', () => {
  test('is enqueued with everything the options name', async () => {
    const parent = await aJob(api.t.ledger, 'queued', { namespace: 'shell' })

    const job = await answer([
      ...ENQUEUE,
      ...[
        '--job-type',
        'audit',
        '--lane',
        'scheduled',
        '--priority',
        '900',
        '--payload',
        '{"a":1}',
        '--state',
        '{"s":2}',
        '--dedupe-key',
        'dk',
        '--run-after',
        '2099-01-01T00:00:00Z',
      ],
      ...[
        '--max-attempts',
        '3',
        '--timeout-seconds',
        '60',
        '--lease-seconds',
        '30',
        '--on-lost',
        'block',
        '--parent-job-id',
        parent.id,
        '--flow-key',
        'f',
        '--correlation-key',
        'c',
      ],
      ...['--source-agent', 'security', '--depends-on', parent.id, '--on-dependency-death', 'run', '--namespace', 'shell'],
    ])

    expect(job).toMatchObject({
      ...{ status: 'waiting', job_type: 'audit', lane: 'scheduled', priority: 900, payload: { a: 1 }, state: { s: 2 }, dedupe_key: 'dk', run_after: '2099-01-01T00:00:00.000Z' },
      ...{ max_attempts: 3, timeout_seconds: 60, lease_seconds: 30, on_lost: 'block', parent_job_id: parent.id, flow_key: 'f', correlation_key: 'c' },
      ...{ source_agent: 'security', on_dependency_death: 'run', namespace: 'shell' },
    })
  })

  test('takes its payload from the command line, a file or standard input, and keeps every letter', async () => {
    const payload = { text: 'ä 😀 "quoted" \u2028' }
    await writeFile(path.join(folder, 'payload.json'), JSON.stringify(payload))

    const jobs = [
      await answer([...ENQUEUE, '--payload', JSON.stringify(payload)]),
      await answer([...ENQUEUE, '--payload', '@payload.json']),
      await answer([...ENQUEUE, '--payload', '-'], { stdin: JSON.stringify(payload) }),
    ]

    expect(jobs.map((job) => job['payload'])).toEqual([payload, payload, payload])
  })

  test('goes from claim to completion with the token of its attempt, and no other', async () => {
    const { id, token } = await claimed('own')
    const env = { AGENTBUS_TOKEN: token }

    const marked = await answer(['mark-running-job', id, '--openclaw-task-ref', 'run-1', '--openclaw-meta', '{"m":1}'], { env })
    await answer(['progress-job', id, '--note', 'half way', '--details', '{"of":2}'], { env })
    await answer(['renew-job-lease', id, '--lease-seconds', '60'], { env })
    const asOperator = await cli(['complete-job', id])
    const done = await answer(['complete-job', id, '--summary', 'done', '--result', '{"ok":true}', '--events', '[{"topic":"shell.done"}]'], { env })
    const again = await cli(['complete-job', id], { env })
    const reading = await cli(['job', id], { env })

    expect([marked['status'], done['status'], done['result']]).toEqual(['running', 'succeeded', { ok: true }])
    expect([asOperator.code, again.code, reading.code]).toEqual([4, 5, 4])
    const { transitions } = await api.t.ledger.jobHistory(id as JobId)
    expect(transitions.map((row) => row.reason)).toEqual(['created', 'leased', 'marked_running', 'progress', 'lease_renewed', 'completed_by_agent'])
  })

  test('is blocked or failed, and retried, by the commands for it', async () => {
    const blocked = await claimed('blocks')
    const failed = await claimed('fails')

    await answer(['block-job', blocked.id, '--blocked-reason', 'no key', '--blocked-owner', 'anna', '--waits-for', '{"kind":"event","topic":"key.given"}'], {
      env: { AGENTBUS_TOKEN: blocked.token },
    })
    const over = await answer(['fail-job', failed.id, '--last-error', 'no good'], { env: { AGENTBUS_TOKEN: failed.token } })
    await answer(['emit-event', '--topic', 'key.given', '--namespace', 'blocks', '--payload', '{"k":1}'])
    const retried = await answer(['retry-job', failed.id, '--reason', 'again', '--extra-attempts', '2'])

    expect(over['status']).toBe('failed')
    expect((await api.t.ledger.getJob(blocked.id as JobId)).status).toBe('queued')
    expect([retried['status'], retried['generation']]).toEqual(['queued', 2])
  })

  test('is cancelled, promoted and buried by an operator', async () => {
    const delayed = await answer([...ENQUEUE, '--run-after', '2099-01-01T00:00:00Z'])
    const promoted = await answer(['promote-job', String(delayed['id']), '--reason', 'now', '--if-version', '1'])
    const late = await cli(['cancel-job', String(delayed['id']), '--reason', 'stop', '--if-version', '1'])
    const cancelled = await answer(['cancel-job', String(delayed['id']), '--reason', 'stop'])
    const dead = await aJob(api.t.ledger, 'dead', { max_attempts: 1 })

    const buried = await answer(['bury-job', dead.id, '--reason', 'rest'])

    expect(Date.parse(String(promoted['run_after']))).toBeLessThan(Date.parse('2098-01-01'))
    expect([late.code, cancelled['status'], buried['buried_at'] === null]).toEqual([5, 'cancelled', false])
  })

  test('whose lease ran out is queued again by hand', async () => {
    const { id } = await claimed('expires')
    await api.t.database.pool.query(`update job_attempts set leased_until = clock_timestamp() - interval '1 second' where job_id = $1`, [id])

    const { items } = (await answer(['requeue-expired', '--namespace', 'expires'])) as { items: { id: string; status: string }[] }

    expect(items).toMatchObject([{ id, status: 'queued' }])
  })
})

describe('delegating', () => {
  test('waits for the result, and says what became of the job', async () => {
    const close = async (how: 'complete' | 'fail'): Promise<void> => {
      await expect.poll(async () => (await api.t.ledger.listJobs({ target_agent: 'security' as never, status: 'queued', limit: 1 })).items.length).toBe(1)
      const [claimed] = (await api.t.ledger.claimJobs(OPERATOR, { namespace: 'default', lease_owner: 'x', lease_seconds: 60, limit: 1, target_agent: 'security' as never })).items
      if (claimed === undefined) throw new Error('nothing was claimed')
      const as = { caller: { role: 'attempt' as const, attemptId: claimed.attempt.id, jobId: claimed.job.id, agentId: claimed.attempt.agent_id } }
      const body = { result: { risk: 'low' }, findings: [], events: [], follow_ups: [] }
      await (how === 'complete' ? api.t.ledger.jobs.complete(as, claimed.job.id, body) : api.t.ledger.jobs.fail(as, claimed.job.id, { ...body, last_error: 'no access' }))
    }
    const parent = await answer(ENQUEUE)
    const ask = ['delegate', 'security', 'Look at the new dependency.\nAll of it.', '--wait', '20s']
    const more = ['--payload', '{"name": "left-pad"}', '--priority', '900', '--correlation-key', 'c', '--parent-job-id', String(parent['id']), '--source-agent', 'devops']
    const [done] = await Promise.all([answer([...ask, ...more]), close('complete')])
    const [failed] = await Promise.all([cli(ask), close('fail')])
    const late = await cli(['delegate', 'security', 'Later.', '--wait', '50ms', '--json'])
    const { id } = JSON.parse(late.stdout) as { id: string }
    const elsewhere = await cli(['delegate', 'security', 'Elsewhere.', '--namespace', 'elsewhere', '--wait', '50ms', '--json'])
    const result = await answer(['result', String(done['id']), '--wait', '5s'])
    const bad = await cli(['delegate', 'security', 'x', '--wait', 'long'])
    const orphan = await cli(['delegate', 'security', 'x', '--parent-job-id', NOBODY])

    expect(done).toMatchObject({
      status: 'succeeded',
      result: { risk: 'low' },
      subject: 'Look at the new dependency.',
      priority: 900,
      correlation_key: 'c',
      parent_job_id: parent['id'],
      source_agent: 'devops',
      job_type: 'delegation',
    })
    expect((JSON.parse(elsewhere.stdout) as { namespace: string }).namespace).toBe('elsewhere')
    expect(done['payload']).toEqual({ name: 'left-pad', instruction: 'Look at the new dependency.\nAll of it.' })
    expect([failed.code, late.code, bad.code, orphan.code]).toEqual([1, 1, 2, 3])
    expect(failed.stderr).toContain('The job is failed.')
    expect(late.stderr).toContain(`agentbus result ${id} --wait 60s`)
    expect(result).toMatchObject({ over: true, status: 'succeeded', result: { risk: 'low' } })
  })
})

describe('standing orders', () => {
  test('are listed, run, closed with what was found, and accounted for', async () => {
    const slot = await aSlot(api.t.ledger, { name: 'from-the-shell' })
    const env = { AGENTBUS_TOKEN: slot.attemptToken ?? '' }

    await answer(['start-standing-order', slot.id], { env })
    const job = await answer(['finish-standing-order', slot.id, '--outcome', 'no_work', '--summary', 'looked', '--evidence', '{"checked": 4}'], { env })
    const orders = await answer(['standing-orders', '--agent', 'devops'])
    const slots = await answer(['slots', '--order', slot.order, '--to', '2099-01-01T00:00:00Z'])
    const one = await answer(['slot', slot.slotId])
    const shown = await cli(['slot', slot.slotId])

    expect(job['status']).toBe('succeeded')
    expect((orders['items'] as { order: string }[]).map(({ order }) => order)).toContain(slot.order)
    expect(slots['items']).toMatchObject([{ id: slot.slotId, status: 'no_work', evidence: { checked: 4 }, unstated: false, job_id: slot.id }])
    expect(one['transitions']).toMatchObject([{ to_status: 'started' }, { from_status: 'started', to_status: 'no_work' }])
    expect(shown.stdout).toContain('no_work')
  })

  test('one of them is set from a file, looked at first, changed, and disabled', async () => {
    await writeFile(path.join(folder, 'order.yaml'), "cron: '*/15 * * * *'\ntime_zone: Europe/Berlin\nmessage: Look around.\n")
    await writeFile(path.join(folder, 'order.json'), JSON.stringify({ every_seconds: 60, message: 'Look around.' }))

    const dry = await cli(['set-standing-order', 'devops/by-hand', '-f', 'order.yaml', '--dry-run'])
    const made = await cli(['set-standing-order', 'devops/by-hand', '-f', 'order.yaml'])
    const again = await answer(['set-standing-order', 'devops/by-hand', '-f', 'order.yaml'])
    const changed = await answer(['set-standing-order', 'devops/by-hand', '-f', 'order.json', '--if-version', '1'])
    const late = await cli(['set-standing-order', 'devops/by-hand', '-f', 'order.yaml', '--if-version', '1'])
    const gone = await cli(['disable-standing-order', 'devops/by-hand', '--if-version', '2'])
    const missing = await cli(['disable-standing-order', 'devops/nothing'])

    expect(dry.stdout).toMatch(/^added standing_order devops\/by-hand\n[^]*nothing was written \(dry run\)\n$/)
    expect(made.stdout).toContain('    cron: "*/15 * * * *"\n')
    expect([again['change'], changed['change']]).toMatchObject([{ change: 'unchanged' }, { change: 'changed', fields: { every_seconds: { from: null, to: 60 } } }])
    expect(gone.stdout).toBe('disabled standing_order devops/by-hand\n    enabled: true → false\n1 changed, 0 unchanged\n')
    expect([dry.code, made.code, late.code, gone.code, missing.code]).toEqual([0, 0, 5, 0, 3])
    expect((await api.t.ledger.listOrders({ order: 'devops/by-hand' }))[0]).toMatchObject({ version: 3, enabled: false })
  })

  test('a window with a missed slot exits with 1, one without with 0', async () => {
    const { order } = await aSlot(api.t.ledger, { name: 'missed-one' })
    await api.t.database.pool.query(
      `with o as (select id, version, agent_id from standing_orders where name = 'missed-one'),
        r as (insert into standing_order_runs (id, order_id, version, agent_id, slot_at, grace_until, look_at)
          select gen_random_uuid(), id, version, agent_id, now() - interval '1 hour', now() - interval '50 minutes', now() from o returning id)
      select 1 from r`,
    )
    await api.t.database.pool.query(
      `select move_slot(id, 'missed', 'worker_down', 'system', 'test', '{}'::jsonb, now()) from standing_order_runs where slot_at < now() and status = 'expected'`,
    )
    const since = new Date(Date.now() - 7_200_000).toISOString()

    const bad = await cli(['accountability', '--from', since])
    const good = await cli(['accountability', '--from', since, '--to', new Date(Date.now() - 7_000_000).toISOString()])

    expect([bad.code, good.code]).toEqual([1, 0])
    expect(bad.stdout).toMatch(new RegExp(`${order} +1 .* 1 `))
    expect(bad.stderr).toContain('missed')
  })
})

describe('the inbox', () => {
  test('takes what a run found, gives it to a reader once, and shows what became of it', async () => {
    const slot = await aSlot(api.t.ledger, { name: 'detector' })
    const env = { AGENTBUS_TOKEN: slot.attemptToken ?? '' }
    const filed = await answer(['file-finding', '--topic', 'disk.full', '--subject-key', 'host1', '--level', 'warning', '--body', 'disk is at 91 %', '--to', 'security'], { env })
    await answer(['file-finding', '--topic', 'disk.full', '--subject-key', 'host2', '--body', 'disk is at 92 %', '--to', 'security'], { env })
    const open = await answer(['inbox', '--agent', 'security'])
    expect((open['items'] as { status: string }[]).map(({ status }) => status)).toEqual(['unread', 'unread'])

    const { items } = (await answer(['read-inbox', '--agent', 'security'])) as { items: { id: string; text: string; source_agent: string }[] }
    const again = await answer(['read-inbox', '--agent', 'security'])
    expect(items).toMatchObject([
      { text: 'disk is at 91 %', source_agent: 'devops' },
      { text: 'disk is at 92 %', source_agent: 'devops' },
    ])
    expect(again['items']).toEqual([])

    await answer(['acknowledge-inbox', ...items.flatMap(({ id }) => ['--id', id]), '--note', 'told the team'])
    const foreign = await cli(['acknowledge-inbox', '--id', items[0]?.id ?? ''], { env })
    const finding = filed['finding'] as { id: string }
    await answer(['settle-finding', finding.id, '--note', 'cleaned'])
    const listed = await answer(['findings', '--topic', 'disk.full', '--status', 'settled'])
    const whole = await answer(['finding', finding.id])
    const shown = await cli(['finding', finding.id])

    expect(foreign.code).toBe(5)
    expect(foreign.stderr).toContain('Not held by this reader')
    expect((listed['items'] as { id: string }[]).map(({ id }) => id)).toEqual([finding.id])
    expect((whole['history'] as { kind: string }[]).map(({ kind }) => kind)).toEqual(['filed', 'raised', 'read', 'acknowledged', 'settled'])
    expect(shown.stdout).toContain('told the team')
  })
})

describe('projects', () => {
  test('have a log that everyone appends to and a status that one role writes', async () => {
    const run = await aJob(api.t.ledger, 'running')
    const env = { AGENTBUS_TOKEN: run.attemptToken ?? '' }

    await answer(['append-project-log', 'shop', '--entry', 'The parser is done.', '--details', '{"commit": "1f3a"}'], { env })
    const refused = await cli(['set-project-status', 'shop', '--status', 'done'], { env })
    const first = await answer(['set-project-status', 'shop', '--status', 'on track', '--body', '# Shop\n\nThe parser is done.'])
    const second = await answer(['set-project-status', 'shop', '--status', 'late', '--if-version', '1'])
    const late = await cli(['set-project-status', 'shop', '--status', 'on track', '--if-version', '1'])
    const log = await answer(['project-log', 'shop'], { env })
    const shown = await cli(['project-log', 'shop'])
    const status = await answer(['project-status', 'shop'], { env })
    const statuses = await answer(['project-statuses', 'shop', '--all'])
    const { items } = await answer(['projects'])
    const missing = await cli(['project-status', 'nothing'])

    expect([refused.code, late.code, missing.code]).toEqual([4, 5, 3])
    expect(refused.stderr).toContain('authority.project_status says: no agent may')
    expect([first['version'], second['version'], status['status']]).toEqual([1, 2, 'late'])
    expect(log['items']).toMatchObject([{ entry: 'The parser is done.', details: { commit: '1f3a' }, job_id: run.id, attempt_id: run.attemptId }])
    expect(shown.stdout).toMatch(/^\d+ {2}\S+ {2}attempt {2}devops .*\n {4}The parser is done\.\n$/)
    expect((statuses['items'] as { version: number }[]).map(({ version }) => version)).toEqual([2, 1])
    expect(items).toMatchObject([{ project: 'shop', status: 'late', version: 2, last_log_at: expect.any(String) }])
  })
})

describe('looking', () => {
  test('every list and view answers, as JSON and for people', async () => {
    const job = await aJob(api.t.ledger, 'running')
    const attempt = String(job.attemptId)
    const views = [
      ['jobs'],
      ['job', job.id],
      ['history', job.id],
      ['attempt', attempt],
      ['prompt', attempt],
      ['events'],
      ['agents'],
      ['gateways'],
      ['lanes'],
      ['dispatchers'],
      ['health'],
      ['token', 'list'],
    ]

    for (const argv of views) {
      const json = await answer(argv)
      const people = await cli(argv)

      expect(Object.keys(json).length).toBeGreaterThan(0)
      expect({ argv, code: people.code, stderr: people.stderr }).toEqual({ argv, code: 0, stderr: '' })
      expect(people.stdout).toMatch(/\n$/)
    }
  })

  test('jobs --all over 250 jobs shows each once', async () => {
    for (let at = 0; at < 25; at += 1) await Promise.all(Array.from({ length: 10 }, () => aJob(api.t.ledger, 'queued', { namespace: 'many' })))

    const { items } = (await answer(['jobs', '--namespace', 'many', '--all'])) as { items: { id: string }[] }

    expect([items.length, new Set(items.map((item) => item.id)).size]).toEqual([250, 250])
  })
})

describe('agents', () => {
  test('are paused and let work again', async () => {
    const paused = await answer(['pause-agent', 'security', '--reason', 'rest'])
    const between = (await api.t.ledger.listAgents('security'))[0]?.paused

    const resumed = await answer(['resume-agent', 'security', '--reason', 'go'])

    expect([paused, between, resumed]).toEqual([{ changed: true, paused: true }, true, { changed: true, paused: false }])
  })
})

describe('lanes', () => {
  test('are paused and go on; one that is not there is refused with 2', async () => {
    const paused = await answer(['pause-lane', 'idle', '--reason', 'quiet please'])
    const again = await cli(['pause-lane', 'idle', '--reason', 'quiet please'])
    const shown = await cli(['lanes'])
    const unknown = await cli(['pause-lane', 'nowhere', '--reason', 'x'])

    const resumed = await answer(['resume-lane', 'idle', '--reason', 'go'])

    expect([paused, again.stdout, resumed]).toEqual([{ changed: true, paused: true }, 'paused (as before)\n', { changed: true, paused: false }])
    expect(shown.stdout).toMatch(/^idle +true .* test-operator +quiet please$/m)
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining('lane')])
  })
})

describe('tokens', () => {
  test('are made, used, listed without their secret, and revoked', async () => {
    const made = await cli(['token', 'create', '--name', 'ci', '--role', 'agent', '--agent', 'devops'])
    const token = made.stdout.trim()
    const usable = await cli(['agents'], { env: { AGENTBUS_TOKEN: token } })
    const { items } = (await answer(['token', 'list'])) as { items: { id: string; name: string }[] }
    const id = String(items.find((item) => item.name === 'ci')?.id)

    const revoked = await cli(['token', 'revoke', id])

    expect(token).toMatch(/^abt_[A-Za-z0-9_-]{43}$/)
    expect([made.code, made.stderr, usable.code, revoked.code]).toEqual([0, '', 0, 0])
    expect(JSON.stringify(items)).not.toContain(token)
    expect((await cli(['agents'], { env: { AGENTBUS_TOKEN: token } })).code).toBe(4)
  })
})

describe('exit codes, as the real API causes them', () => {
  test.each([
    [2, 'input that is not valid', [...ENQUEUE, '--priority', '2000']],
    [2, 'an agent that nobody knows', ['enqueue-job', '--target-agent', 'nobody', '--subject', 'x']],
    [2, 'an unknown option', [...ENQUEUE, '--colour', 'red']],
    [2, 'text that no store can hold', [...ENQUEUE, '--payload', '{"a":"\\u0000"}']],
    [3, 'a job that nobody knows', ['job', NOBODY]],
    [3, 'an attempt that nobody knows', ['attempt', NOBODY]],
    [5, 'a state that does not allow it', ['promote-job', 'SUCCEEDED', '--reason', 'x']],
  ])('%i: %s', async (code, _what, argv) => {
    const { id } = await aJob(api.t.ledger, 'succeeded')
    const words = argv.map((word) => (word === 'SUCCEEDED' ? id : word))

    const ran = await cli(words)
    const json = await cli([...words, '--json'])

    expect([ran.code, json.code, ran.stdout, json.stdout]).toEqual([code, code, '', ''])
    expect(ran.stderr).toMatch(/^agentbus: [^\n]+\n$/)
    expect(JSON.parse(json.stderr)).toMatchObject({ detail: expect.any(String) })
    expect(`${ran.stderr}${json.stderr}`).not.toContain(api.t.operatorToken)
  })

  test('4: a wrong token, which is not repeated; 7: too many of them', async () => {
    const wrong = `abt_${'w'.repeat(43)}`
    const codes: number[] = []
    let said = ''

    for (let at = 0; at < 21; at += 1) {
      const ran = await cli(['agents'], { env: { AGENTBUS_TOKEN: wrong } })
      codes.push(ran.code)
      said += ran.stderr + ran.stdout
    }

    expect(codes.slice(0, 20).every((code) => code === 4)).toBe(true)
    expect(codes.at(-1)).toBe(7)
    expect(said).not.toContain('wwww')
    expect((await cli(['agents'])).code).toBe(0)
  })
})

/** Passes connections on, but cuts the first `cuts` of them once the API has answered, before the answer gets through. */
async function cuttingProxy(cuts: number): Promise<{ readonly url: string; readonly connections: () => number; close(): Promise<void> }> {
  let connections = 0
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    connections += 1
    const isCut = connections <= cuts
    const upstream = connect(Number(new URL(api.url).port), '127.0.0.1')
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => undefined))
    client.pipe(upstream)
    if (isCut) upstream.once('data', () => client.destroy())
    else upstream.pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections: () => connections,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

describe('a connection that breaks after the request was carried out', () => {
  test('leaves one job, not two, and the command answers with it', async () => {
    const proxy = await cuttingProxy(1)
    const before = await api.count('jobs')

    const job = await answer(ENQUEUE, { env: { AGENTBUS_URL: proxy.url } })

    expect(proxy.connections()).toBe(2)
    expect(await api.count('jobs')).toBe(before + 1)
    expect((await api.t.ledger.getJob(job['id'] as JobId)).subject).toBe('from the shell')
    await proxy.close()
  })

  test('leaves a close that is answered as done, though its attempt has ended', async () => {
    const { id, token } = await claimed('cut')
    const proxy = await cuttingProxy(2)

    const done = await answer(['complete-job', id], { env: { AGENTBUS_URL: proxy.url, AGENTBUS_TOKEN: token } })

    expect([done['status'], proxy.connections()]).toEqual(['succeeded', 3])
    expect((await api.t.ledger.jobHistory(id as JobId)).observations).toEqual([])
    await proxy.close()
  })

  test('for good gives the key with which a repeat by hand is one job', async () => {
    const proxy = await cuttingProxy(99)
    const before = await api.count('jobs')
    const failed = await cli([...ENQUEUE, '--json'], { env: { AGENTBUS_URL: proxy.url } })
    const key = String((JSON.parse(failed.stderr) as { idempotency_key: string }).idempotency_key)

    await answer([...ENQUEUE, '--idempotency-key', key])

    expect([failed.code, failed.stdout]).toEqual([6, ''])
    expect(await api.count('jobs')).toBe(before + 1)
    await proxy.close()
  })
})

describe('apply', () => {
  const fleet = (agents: string): string => `version: 1\ngateways:\n  - id: gw\n    base_url: http://127.0.0.1:9\n    token: env:TEST_HOOK_TOKEN\nagents:\n${agents}`
  const ONE = fleet('  - id: applied\n    gateway: gw\n    concurrency: 3\n')
  const versions = async (): Promise<number> => Number((await api.t.database.pool.query(`select count(*)::int as n from fleet_versions`)).rows[0]?.n)

  test('--dry-run shows what it would do and writes nothing; then it is done; then there is nothing to do', async () => {
    await writeFile(path.join(folder, 'fleet.yaml'), ONE)
    const before = await versions()

    const dry = (await answer(['apply', '-f', 'fleet.yaml', '--dry-run'])) as { changes: { kind: string; id: string; change: string }[] }
    const afterDry = await versions()
    const done = (await answer(['apply', '-f', 'fleet.yaml'])) as typeof dry
    const again = (await answer(['apply', '-f', 'fleet.yaml'])) as typeof dry
    const people = await cli(['apply', '-f', 'fleet.yaml'])

    expect(dry).toEqual(done)
    expect(afterDry).toBe(before)
    expect(done.changes).toMatchObject([
      { id: 'gw', change: 'unchanged' },
      { id: 'applied', change: 'added' },
    ])
    expect(again.changes.map((one) => one.change)).toEqual(['unchanged', 'unchanged'])
    expect(await versions()).toBe(before + 1)
    expect(people.stdout).toMatch(/unchanged|nothing/i)
  })

  test('--prune disables what the file does not name, and keeps it', async () => {
    await writeFile(path.join(folder, 'fleet.yaml'), ONE)
    await writeFile(path.join(folder, 'fuller.yaml'), fleet('  - id: applied\n    gateway: gw\n    concurrency: 3\n  - id: leaver\n    gateway: gw\n'))
    await answer(['apply', '-f', 'fuller.yaml'])
    const others = (await api.t.ledger.listAgents()).filter((agent) => agent.enabled && agent.id !== 'applied')

    const { changes } = (await answer(['apply', '-f', 'fleet.yaml', '--prune'])) as { changes: { kind: string; id: string; change: string }[] }

    expect(
      changes
        .filter((one) => one.kind === 'agent' && one.change === 'disabled')
        .map((one) => one.id)
        .sort(),
    ).toEqual(others.map((agent) => String(agent.id)).sort())
    expect((await api.t.ledger.listAgents('leaver'))[0]).toMatchObject({ enabled: false, state: 'disabled' })
  })

  test('a broken file is named with line and column, and nothing is sent', async () => {
    await writeFile(path.join(folder, 'broken.yaml'), fleet('  - id: applied\n    gateway: nowhere\n    concurrency: many\n'))
    const before = await versions()

    const ran = await cli(['apply', '-f', 'broken.yaml'])

    expect([ran.code, ran.stdout]).toEqual([2, ''])
    expect(ran.stderr).toMatch(/broken\.yaml:9:18: .*concurrency/s)
    expect(await versions()).toBe(before)
  })
})

describe('workspace', () => {
  test('keeps what stands in AGENTS.md already, and refuses an id that is no id', async () => {
    await writeFile(path.join(folder, 'AGENTS.md'), '# My own rules\n')

    const written = await cli(['workspace', 'devops', '--dir', '.'])
    const refused = await cli(['workspace', '../evil', '--dir', '.'])

    const text = await readFile(path.join(folder, 'AGENTS.md'), 'utf8')
    expect([written.code, refused.code]).toEqual([0, 2])
    expect(text).toContain('# My own rules\n')
    expect(text).toContain(api.url)
  })
})

test('the token of an attempt that nobody opened is refused with 4 and not repeated', async () => {
  const token = api.t.ledger.tokens.attempts.issue(uuidv7(1) as AttemptId)

  const ran = await cli(['complete-job', NOBODY, '--token', token])

  expect(ran.code).toBe(4)
  expect(ran.stderr).not.toContain(token)
})

test('every client command was run above against the real API', () => {
  const all = [
    ...COMMANDS.map((command) => command.name),
    'apply',
    'delegate',
    'set-standing-order',
    'set-subscription',
    'define-workflow',
    'workspace',
    'token create',
    'token list',
    'token revoke',
  ]

  expect(all.filter((name) => !used.has(name))).toEqual([])
})
