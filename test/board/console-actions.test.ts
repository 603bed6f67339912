import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ListAlertsQuery, type AlertId } from '../../contracts/alerts.js'
import { SetControlBody } from '../../contracts/controls.js'
import type { JobId } from '../../contracts/ids.js'
import { CompleteJobBody } from '../../contracts/closings.js'
import { alertRules } from '../support/alerts.js'
import { serveConsole, type TestConsole } from '../support/console.js'
import { aJob, freshLedger, OPERATOR } from '../support/ledger.js'

let c: Omit<TestConsole, 'waits'>
beforeEach(async () => {
  c = await serveConsole(await freshLedger())
})
afterEach(() => c.close())

const UNKNOWN = '0192f0c4-1111-7000-8000-00000000000a'

interface Answered {
  readonly status: number
  readonly said: string
  readonly code: string | undefined
}

/** Sends a form as the script of a page does. */
async function post(name: string, fields: Record<string, string> | [string, string][]): Promise<Answered> {
  const body = new URLSearchParams([...(Array.isArray(fields) ? fields : Object.entries(fields)), ['reason', 'because'], ['key', crypto.randomUUID()]])
  const answer = await fetch(`${c.url}/console/actions/${name}`, { method: 'POST', body, headers: { authorization: `Bearer ${c.token}`, accept: 'application/json' } })
  const { message, detail, code } = (await answer.json()) as { message?: string; detail?: string; code?: string }
  return { status: answer.status, said: message ?? detail ?? '', code }
}

const pageAt = async (path: string): Promise<string> => (await fetch(c.url + path, { headers: { authorization: `Bearer ${c.token}` } })).text()
const refusals = async (): Promise<unknown[]> =>
  (await c.t.database.pool.query<Record<string, unknown>>(`select code, job_id, actor_kind, actor from observations where kind = 'refusal' order by id`)).rows
const refusal = (code: string, jobId: string | null = null): unknown => ({ code, job_id: jobId, actor_kind: 'board', actor: 'anna' })

describe('a job that runs', () => {
  test('is retried by force alone: its attempt ends as cancelled, and its late answer is refused', async () => {
    const { id, as, attemptId, job } = await aJob(c.t.ledger, 'running')

    const plain = await post('retry', { id })
    const forced = await post('force-retry', { id })

    expect([plain.code, forced.status]).toEqual(['AGENTBUS_ILLEGAL_TRANSITION', 200])
    expect(await c.t.ledger.getJob(id)).toMatchObject({ status: 'queued', generation: job.generation + 1 })
    const { attempts, transitions } = await c.t.ledger.jobHistory(id)
    expect(attempts.find((one) => one.id === attemptId)).toMatchObject({ status: 'cancelled', outcome_code: 'operator_retry' })
    expect(transitions.at(-1)).toMatchObject({ reason: 'operator_retry', actor_kind: 'board', actor: 'anna', note: 'because' })
    await expect(c.t.ledger.jobs.complete(as, id, CompleteJobBody.parse({}))).rejects.toMatchObject({ code: 'AGENTBUS_STALE_ATTEMPT' })
  })

  test('is made a dead letter by force alone, and stays in the list of dead letters', async () => {
    const { id, attemptId } = await aJob(c.t.ledger, 'running')

    const buried = await post('bury', { id })
    const forced = await post('force-dead', { id })

    expect([buried.code, forced.status]).toEqual(['AGENTBUS_ILLEGAL_TRANSITION', 200])
    expect(await c.t.ledger.getJob(id)).toMatchObject({ status: 'dead', buried_at: null, last_error: 'because' })
    const { attempts, transitions } = await c.t.ledger.jobHistory(id)
    expect(attempts.find((one) => one.id === attemptId)).toMatchObject({ status: 'cancelled', outcome_code: 'operator_dead' })
    expect(transitions.at(-1)).toMatchObject({ reason: 'operator_dead', actor_kind: 'board', actor: 'anna' })
  })
})

test('one form sent twice forces a retry once', async () => {
  const { id } = await aJob(c.t.ledger, 'running')
  const body = new URLSearchParams({ id, reason: 'because', key: crypto.randomUUID() })
  const send = async (): Promise<number> =>
    (await fetch(`${c.url}/console/actions/force-retry`, { method: 'POST', body, headers: { authorization: `Bearer ${c.token}`, accept: 'application/json' } })).status

  const statuses = [await send(), await send()]

  expect(statuses).toEqual([200, 200])
  expect((await c.t.ledger.jobHistory(id)).transitions.filter((row) => row.reason === 'operator_retry')).toHaveLength(1)
})

test.each([
  ['waiting', true],
  ['queued', true],
  ['leased', true],
  ['running', true],
  ['blocked', true],
  ['succeeded', false],
  ['failed', false],
  ['cancelled', false],
] as const)('the page of a %s job offers to force it: %s', async (status, isOffered) => {
  const { id } = await aJob(c.t.ledger, status)

  const page = await pageAt(`/console/jobs/${id}`)

  expect(['force-retry', 'force-dead'].map((name) => page.includes(`action="/console/actions/${name}"`))).toEqual([isOffered, isOffered])
})

test('the page of controls forces one job by its id', async () => {
  const page = await pageAt('/console/controls')

  expect([...page.matchAll(/formaction="([^"]+)"/g)].map(([, action]) => action)).toEqual(['/console/actions/force-retry', '/console/actions/force-dead'])
})

describe('all dead letters of a cause', () => {
  // What escaping, a form's line ends and a cut between the halves of a character would change.
  const error = `\u001b[31mboom\u001b[0m "${'x'.repeat(10)}" ${'y'.repeat(138)}😀 and so on\r\nat <line> & more`
  const letter = async (text: string): Promise<JobId> => {
    const { id } = await aJob(c.t.ledger, 'failed')
    await c.t.database.pool.query('update jobs set last_error = $2 where id = $1', [id, text])
    return id
  }
  /** The boxes "all of this cause", in the order of the page. */
  const boxes = (page: string): string[] => [...page.matchAll(/name="cause" value="([^"]*)"/g)].map(([, value]) => value ?? '')

  test.each([
    ['retry', 'queued', false],
    ['bury', 'failed', true],
  ] as const)('are found again when the form comes back, whatever the error holds: %s', async (what, status, isBuried) => {
    const ids = [await letter(error), await letter(error), await letter(error.replace('\r\n', '\n'))]
    const other = await letter('another one')

    const [cause = ''] = boxes(await pageAt('/console/dead-letters'))
    const answer = await post('dead-letters', { what, cause, agent: '' })

    expect(answer).toMatchObject({ status: 200, said: expect.stringMatching(/^3 jobs are /) as string })
    const jobs = await Promise.all(ids.map((id) => c.t.ledger.getJob(id)))
    expect(jobs.map((job) => [job.status, job.buried_at !== null])).toEqual(Array(3).fill([status, isBuried]))
    expect(await c.t.ledger.getJob(other)).toMatchObject({ status: 'failed', buried_at: null })
  })

  test('are the same ones when the form comes again, though another has joined the cause, and have the same answer', async () => {
    const ids = [await letter(error), await letter(error)]
    const [cause = ''] = boxes(await pageAt('/console/dead-letters'))
    const body = new URLSearchParams({ what: 'retry', cause, agent: '', reason: 'because', key: crypto.randomUUID() })
    const send = async (): Promise<unknown> => {
      const answer = await fetch(`${c.url}/console/actions/dead-letters`, { method: 'POST', body, headers: { authorization: `Bearer ${c.token}`, accept: 'application/json' } })
      return [answer.status, await answer.json()]
    }

    const answers = [await send(), await send()]
    const late = await letter(error)
    answers.push(await send())

    expect(answers).toEqual(Array(3).fill([200, { message: '2 jobs are queued again.' }]))
    expect((await c.t.ledger.getJob(late)).status).toBe('failed')
    const histories = await Promise.all(ids.map((id) => c.t.ledger.jobHistory(id)))
    expect(histories.map(({ transitions }) => transitions.filter((row) => row.reason === 'operator_retry').length)).toEqual([1, 1])
    expect(await refusals()).toEqual([])
  })

  test('are not those of a cause that differs in what is cut in the middle', async () => {
    const [one, other] = [await letter(`${'y'.repeat(159)}😀`), await letter(`${'y'.repeat(159)}🚀`)]

    const { causes } = await c.t.ledger.console.deadLetters({})
    await post('dead-letters', { what: 'bury', cause: causes.find(({ letters }) => letters[0]?.id === one)?.key ?? '' })

    expect(causes).toHaveLength(2)
    expect([(await c.t.ledger.getJob(one)).buried_at === null, (await c.t.ledger.getJob(other)).buried_at === null]).toEqual([false, true])
  })
})

test('a form about many jobs that was refused means others once it is changed, though its key is the same', async () => {
  const [queued, failed] = [await aJob(c.t.ledger, 'queued'), await aJob(c.t.ledger, 'failed')]
  const key = crypto.randomUUID()
  const send = async (id: string): Promise<number> => {
    const body = new URLSearchParams({ what: 'retry', ids: id, reason: 'because', key })
    return (await fetch(`${c.url}/console/actions/dead-letters`, { method: 'POST', body, headers: { authorization: `Bearer ${c.token}`, accept: 'application/json' } })).status
  }

  const statuses = [await send(queued.id), await send(failed.id)]

  expect(statuses).toEqual([409, 200])
  expect((await c.t.ledger.getJob(failed.id)).status).toBe('queued')
})

describe('what is refused has one row, in the name of the person', () => {
  test.each([
    ['a control on an agent that does not exist', 'stop', { what: 'pause agent', target: 'nobody' }, 'AGENTBUS_NOT_FOUND', null],
    ['a control on an order that does not exist', 'stop', { what: 'pause order', target: 'devops/nothing' }, 'AGENTBUS_ORDER_NOT_FOUND', null],
    ['an end of a control on a lane that does not exist', 'resume', { scope: 'lane', target: 'fast' }, 'AGENTBUS_NOT_FOUND', null],
    ['an alert that does not exist', 'acknowledge', { id: UNKNOWN }, 'AGENTBUS_ALERT_NOT_FOUND', null],
    ['an approval that does not exist', 'approve', { id: UNKNOWN }, 'AGENTBUS_APPROVAL_NOT_FOUND', null],
    ['a job that does not exist', 'cancel', { id: UNKNOWN }, 'AGENTBUS_JOB_NOT_FOUND', UNKNOWN],
    ['a flow of a job that does not exist', 'cancel-flow', { by: 'job_id', value: UNKNOWN, running: 'leave' }, 'AGENTBUS_JOB_NOT_FOUND', null],
    ['a form that is not valid', 'stop', { what: 'drain lane', target: 'coding' }, 'AGENTBUS_BAD_REQUEST', null],
  ])('%s', async (_what, name, fields, code, jobId) => {
    const answer = await post(name, fields)

    expect(answer.code).toBe(code)
    expect(await refusals()).toEqual([refusal(code, jobId)])
  })

  test('an alert that somebody else has taken', async () => {
    await alertRules(c.t.ledger, [{}])
    await aJob(c.t.ledger, 'dead', { max_attempts: 1 })
    await c.t.ledger.alerts.evaluate()
    const [alert] = (await c.t.ledger.listAlerts(ListAlertsQuery.parse({}))).items
    await c.t.ledger.alerts.acknowledge(OPERATOR, alert?.id as AlertId, { reason: 'mine' })

    const answer = await post('acknowledge', { id: alert?.id ?? '' })

    expect(answer.code).toBe('AGENTBUS_ALERT_OVER')
    expect(await refusals()).toEqual([refusal('AGENTBUS_ALERT_OVER')])
  })

  test('what the ledger writes down itself is not written twice', async () => {
    await c.t.ledger.controls.set(OPERATOR, SetControlBody.parse({ action: 'pause', scope: 'lane', target: 'idle', reason: 'x' }))
    const queued = await aJob(c.t.ledger, 'queued')
    const asking = await aJob(c.t.ledger, 'running')
    const rest = { result: {}, findings: [], events: [], follow_ups: [] }
    await c.t.ledger.jobs.block(asking.as, asking.id, {
      blocked_reason: 'a yes',
      blocked_owner: 'operator',
      waits_for: { kind: 'approval', subject: 'May I', details: {} },
      ...rest,
    })
    const [approval] = (await c.t.ledger.console.job(asking.id)).approvals
    await post('approve', { id: approval?.id ?? '' })

    const codes = [
      (await post('stop', { what: 'pause lane', target: 'idle', for_seconds: '3600' })).code,
      (await post('unblock', { id: queued.id })).code,
      (await post('reject', { id: approval?.id ?? '' })).code,
    ]

    expect(codes).toEqual(['AGENTBUS_CONTROL_CONFLICT', 'AGENTBUS_ILLEGAL_TRANSITION', 'AGENTBUS_APPROVAL_DECIDED'])
    expect(await refusals()).toEqual([refusal('AGENTBUS_CONTROL_CONFLICT'), refusal('AGENTBUS_ILLEGAL_TRANSITION', queued.id), refusal('AGENTBUS_APPROVAL_DECIDED')])
  })

  test('each job of many, beside it, and the others are carried out', async () => {
    const [dead, one, other] = [await aJob(c.t.ledger, 'failed'), await aJob(c.t.ledger, 'queued'), await aJob(c.t.ledger, 'queued')]
    const ids = (list: readonly { readonly id: string }[]): [string, string][] => list.map(({ id }) => ['ids', id])

    const some = await post('dead-letters', [['what', 'retry'], ...ids([one, dead])])
    const none = await post('dead-letters', [['what', 'retry'], ...ids([other])])

    expect([some.status, none.code]).toEqual([200, 'AGENTBUS_ILLEGAL_TRANSITION'])
    expect(some.said).toMatch(/^1 job is queued again\. 1 refused/)
    expect(await refusals()).toEqual([refusal('AGENTBUS_ILLEGAL_TRANSITION', one.id), refusal('AGENTBUS_ILLEGAL_TRANSITION', other.id)])
  })
})

test('a flow is cancelled in its namespace, and not beyond', async () => {
  const here = await aJob(c.t.ledger, 'queued', { correlation_key: 'case-1' })
  const there = await aJob(c.t.ledger, 'queued', { correlation_key: 'case-1', namespace: 'lab' })

  const answer = await post('cancel-flow', { by: 'correlation_key', value: 'case-1', namespace: 'lab', running: 'leave' })

  expect(answer.said).toBe('1 job is cancelled.')
  expect([(await c.t.ledger.getJob(here.id)).status, (await c.t.ledger.getJob(there.id)).status]).toEqual(['queued', 'cancelled'])
})

test('a flow that was not found is found once it is named right, in the form that it was named wrong in', async () => {
  const { id } = await aJob(c.t.ledger, 'queued', { correlation_key: 'case-1' })
  const key = crypto.randomUUID()
  const send = async (value: string): Promise<number> => {
    const body = new URLSearchParams({ by: 'correlation_key', value, namespace: '', running: 'leave', reason: 'because', key })
    return (await fetch(`${c.url}/console/actions/cancel-flow`, { method: 'POST', body, headers: { authorization: `Bearer ${c.token}`, accept: 'application/json' } })).status
  }

  const statuses = [await send('case-l'), await send('case-1'), await send('case-1')]

  expect(statuses).toEqual([404, 200, 200])
  const { job, transitions } = await c.t.ledger.jobHistory(id)
  expect([job.status, transitions.filter((row) => row.reason === 'cancelled').length]).toEqual(['cancelled', 1])
})

test('jobs are found by namespace and by type', async () => {
  const jobs = { plain: {}, lab: { namespace: 'lab' }, report: { job_type: 'report' }, both: { namespace: 'lab', job_type: 'report' } }
  for (const [subject, fields] of Object.entries(jobs)) await aJob(c.t.ledger, 'queued', { subject, ...fields })
  const found = async (query: string): Promise<string[]> =>
    [...(await pageAt(`/console/jobs?${query}`)).matchAll(/<bdi>(plain|lab|report|both)<\/bdi>/g)].map(([, subject]) => subject ?? '')

  expect(await found('namespace=lab')).toEqual(['both', 'lab'])
  expect(await found('type=report')).toEqual(['both', 'report'])
  expect(await found('namespace=lab&type=report&status=queued&agent=devops')).toEqual(['both'])
  expect(await found('namespace=&type=')).toEqual(['both', 'report', 'lab', 'plain'])
})
