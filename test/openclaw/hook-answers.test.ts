import { describe, expect, test } from 'vitest'
import { NoAnswerError } from '../../openclaw/hook-transport.js'
import { classOf, reasonOf, retryAfterMs } from '../../openclaw/hook-answers.js'

const NOW = Date.UTC(2026, 0, 1)

describe('Retry-After', () => {
  test.each([
    ['1', 1_000],
    [' 60 ', 60_000],
    ['0', 0],
    ['999999999999', 3_600_000],
    [new Date(NOW + 90_000).toUTCString(), 90_000],
    [new Date(NOW - 90_000).toUTCString(), 0],
    [new Date(NOW + 86_400_000).toUTCString(), 3_600_000],
    ['', undefined],
    ['soon', undefined],
    ['-5', undefined],
    ['1.5', undefined],
    ['Mon, 99 Foo 2026', undefined],
    [undefined, undefined],
  ])('of %j is %s ms', (header, expected) => {
    expect(retryAfterMs(header, NOW)).toBe(expected)
  })
})

test('every status from 100 to 999 has a class, and nothing but a 2xx counts as answered', () => {
  const classes = Array.from({ length: 900 }, (_none, at) => [at + 100, classOf(at + 100)] as const)

  expect(classes.filter(([, kind]) => kind === 'answered').every(([status]) => status >= 200 && status < 300)).toBe(true)
  expect(classes.filter(([, kind]) => kind === 'not_delivered').map(([status]) => status)).toEqual([408, 409, 425, 429, 502, 503])
  expect(classes.filter(([, kind]) => kind === 'refused').every(([status]) => status >= 300 && status < 500)).toBe(true)
})

test('a failure is told in one line, with its code once', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' })
  const closed = Object.assign(new Error('other side closed'), { code: 'UND_ERR_SOCKET' })

  expect(reasonOf(new NoAnswerError('connection', false, refused))).toBe('connect ECONNREFUSED 127.0.0.1:1')
  expect(reasonOf(new NoAnswerError('connection', true, closed))).toBe('UND_ERR_SOCKET: other side closed')
  expect(reasonOf(new NoAnswerError('connection', true, new AggregateError([refused])))).toBe('connect ECONNREFUSED 127.0.0.1:1')
})
