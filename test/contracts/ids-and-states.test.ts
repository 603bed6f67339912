import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AgentbusError, assertNever, ERRORS, isCode, messageOf, type ErrorCode } from '../../contracts/errors.js'
import { AgentId, EventId, JobId, uuidv7 } from '../../contracts/ids.js'
import { canMove, isTerminal, JOB_STATUSES, LEGAL_MOVES, OPEN_STATUSES, TERMINAL_STATUSES, TRANSITION_REASONS } from '../../contracts/job-states.js'
import { WaitsFor } from '../../contracts/closings.js'
import { EmitEventBody } from '../../contracts/events.js'
import { CreateJobBody } from '../../contracts/jobs.js'

const LATEST_MS = 2 ** 48 - 1

describe('uuidv7', () => {
  test('sorts as text by the millisecond it was made in', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: LATEST_MS }), fc.integer({ min: 0, max: LATEST_MS }), (a, b) => {
        fc.pre(a !== b)
        expect(uuidv7(a) < uuidv7(b)).toBe(a < b)
      }),
    )
  })

  test('has version 7, the RFC variant, and the time in its first 48 bits', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: LATEST_MS }), (ms) => {
        const id = uuidv7(ms)

        expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        expect(parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(ms)
        expect(JobId.safeParse(id).success).toBe(true)
      }),
    )
  })

  test('gives another id each time within one millisecond', () => {
    const ids = Array.from({ length: 10_000 }, () => uuidv7(1))

    expect(new Set(ids).size).toBe(ids.length)
  })
})

describe('agent ids', () => {
  test.each(['a', 'devops', 'A.b_c-1', 'x'.repeat(63)])('%s is one', (id) => {
    expect(AgentId.safeParse(id).success).toBe(true)
  })

  test.each(['', '.', '..', '-a', '_a', 'a:b', 'a/b', 'a b', 'a\n', 'ä', 'x'.repeat(64), 'a\0'])('%j is none', (id) => {
    expect(AgentId.safeParse(id).success).toBe(false)
  })
})

test('an event id is a positive whole number that Postgres can hold', () => {
  const answers = ['1', '9223372036854775807', '0', '-1', '01', '1.5', '', '9223372036854775808', '9999999999999999999'].map((id) => EventId.safeParse(id).success)

  expect(answers).toEqual([true, true, false, false, false, false, false, false, false])
})

describe('job states', () => {
  test('are open or terminal, each exactly one', () => {
    expect([...OPEN_STATUSES, ...TERMINAL_STATUSES].sort()).toEqual([...JOB_STATUSES].sort())
    expect(JOB_STATUSES.filter(isTerminal)).toEqual([...TERMINAL_STATUSES])
  })

  test('can be left by a cancellation while they are open, and only then', () => {
    for (const status of JOB_STATUSES) expect([status, canMove(status, 'cancelled')]).toEqual([status, !isTerminal(status)])
  })

  test('are left by an operator only into the queue once they are terminal, and never once succeeded', () => {
    expect(TERMINAL_STATUSES.map((status) => LEGAL_MOVES[status])).toEqual([[], ['queued'], ['queued'], ['queued']])
  })

  test('never move to themselves or to a state that is not in the table', () => {
    for (const [from, targets] of Object.entries(LEGAL_MOVES)) {
      expect(targets).not.toContain(from)
      expect(new Set(targets).size).toBe(targets.length)
      for (const to of targets) expect(JOB_STATUSES).toContain(to)
    }
  })

  test('can all be reached from queued or waiting, in which a job is created', () => {
    const reached = new Set<string>(['queued', 'waiting'])
    for (const status of reached) for (const to of LEGAL_MOVES[status as keyof typeof LEGAL_MOVES]) reached.add(to)

    expect([...reached].sort()).toEqual([...JOB_STATUSES].sort())
  })

  test('lead to an end: from each open state a terminal one can be reached', () => {
    for (const status of OPEN_STATUSES) expect(LEGAL_MOVES[status].some(isTerminal)).toBe(true)
  })

  test('are entered by running only from leased, and by leased only from queued', () => {
    const into = (to: 'running' | 'leased'): string[] => JOB_STATUSES.filter((from) => canMove(from, to))

    expect(into('running')).toEqual(['leased'])
    expect(into('leased')).toEqual(['queued'])
  })

  test('have reasons that are each named once', () => {
    expect(new Set(TRANSITION_REASONS).size).toBe(TRANSITION_REASONS.length)
  })
})

describe('the catalogue of errors', () => {
  const codes = Object.keys(ERRORS) as ErrorCode[]

  test.each(codes)('%s has a status, a title and a next step', (code) => {
    const { status, title, next } = ERRORS[code]

    expect(code).toMatch(/^AGENTBUS_[A-Z]+(_[A-Z]+)*$/)
    expect(status).toBeGreaterThanOrEqual(400)
    expect(status).toBeLessThan(600)
    expect(title).toMatch(/^[A-Z][^.\n]+$|^agentbus failed$/)
    expect(next).toMatch(/^[A-Z][^\n]+\.$/)
  })

  test('gives each error its own title', () => {
    expect(new Set(codes.map((code) => ERRORS[code].title)).size).toBe(codes.length)
  })

  test('is what an error answers from', () => {
    const error = new AgentbusError('AGENTBUS_STALE_ATTEMPT', 'why', { job_id: 'x' })

    expect([error.status, error.next, error.message, error.fields]).toEqual([409, ERRORS.AGENTBUS_STALE_ATTEMPT.next, 'why', { job_id: 'x' }])
    expect([isCode(error, 'AGENTBUS_STALE_ATTEMPT'), isCode(error, 'AGENTBUS_INTERNAL'), isCode(new Error('x'), 'AGENTBUS_INTERNAL')]).toEqual([true, false, false])
  })
})

describe('messageOf', () => {
  test('leaves the statement and the parameters of a failed query out', () => {
    const failed = new Error('Failed query: insert into jobs values ($1)\nparams: secret payload', { cause: new Error('connection refused') })

    expect(messageOf(failed)).toBe('connection refused')
    expect(messageOf(new AggregateError([failed]))).toBe('connection refused')
    expect(messageOf(new Error('Failed query: x\nparams: secret'))).toBe('a query failed')
  })

  test('gives some text for anything that can be thrown', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.constant(undefined)), (thrown) => {
        expect(typeof messageOf(thrown)).toBe('string')
      }),
    )
  })
})

test('a value that should not exist ends in an exception', () => {
  expect(() => assertNever('x' as never)).toThrow('unreachable')
})

describe('times and topics that Postgres could not take are refused at the edge', () => {
  const job = { target_agent: 'devops', subject: 'x' }

  test.each(['0000-01-01T00:00:00Z', '2030-01-01T00:00:00+23:00', '2030-02-30T00:00:00Z', '2030-01-01', 'now', ''])('run_after %j', (run_after) => {
    expect(CreateJobBody.safeParse({ ...job, run_after }).success).toBe(false)
  })

  test.each(['2030-01-01T00:00:00Z', '2030-01-01T00:00:00.123456+05:30', '1999-12-31T23:59:59-12:00'])('run_after %j passes', (run_after) => {
    expect(CreateJobBody.safeParse({ ...job, run_after }).success).toBe(true)
  })

  test('a topic to wait for has the form of a topic that can be emitted', () => {
    const topics = ['a.b', 'a\0', 'a b', '.a', '']

    const waits = topics.map((topic) => WaitsFor.safeParse({ kind: 'event', topic }).success)

    expect(waits).toEqual(topics.map((topic) => EmitEventBody.safeParse({ topic }).success))
    expect(waits).toEqual([true, false, false, false, false])
  })
})
