import { describe, expect, test } from 'vitest'
import { DEFAULT_NAG, InboxConfig, NagPolicy, policyFor } from '../../contracts/inbox.js'
import { decideNag, sayNag, type NagState } from '../../ledger/nag.js'

const DAY = 86_400_000
const START = Date.parse('2026-11-02T09:00:00Z') // a Monday

/** Files a finding at each of the given days after its start and tells what the policy made of each. */
function play(policy: NagPolicy, days: readonly number[], worseOn: readonly number[] = []): string[] {
  let state: NagState = { sinceMs: START, nagCount: 0, lastRaisedMs: undefined, messageOpen: false, worse: false }
  return days.map((day) => {
    const nowMs = START + day * DAY
    const decision = decideNag(policy, { ...state, worse: worseOn.includes(day) }, nowMs)
    if (!decision.raise) return decision.because
    state = { ...state, nagCount: state.nagCount + (decision.counts ? 1 : 0), lastRaisedMs: nowMs }
    return `${decision.step.tone} (${decision.level})`
  })
}

describe('a nag policy', () => {
  test('gets firmer with the days and then stops', () => {
    expect(play(DEFAULT_NAG, [0, 1, 2, 3, 4, 7, 8, 30, 300])).toEqual([
      'polite (1)',
      'too_young',
      'too_young',
      'firm (2)',
      'too_young',
      'act or drop (3)',
      'silent',
      'silent',
      'silent',
    ])
  })

  test('says a step as often as it is told to, and waits between two', () => {
    const policy = NagPolicy.parse({ topic: 't', every_hours: 12, steps: [{ tone: 'a', times: 2 }, { tone: 'b' }] })

    expect(play(policy, [0, 0.25, 0.5, 0.75, 1, 1.5])).toEqual(['a (1)', 'too_soon', 'a (1)', 'too_soon', 'b (2)', 'silent'])
  })

  test('keeps to its days of the week, in its zone', () => {
    const policy = NagPolicy.parse({ topic: 't', every_hours: 0, days: ['mon', 'tue'], time_zone: 'Asia/Tokyo', steps: [{ tone: 'a', times: 100 }] })

    // 09:00 in UTC is 18:00 in Tokyo; 1.7 days later it is Wednesday there and still Wednesday 01:48 UTC.
    expect(play(policy, [0, 1, 1.7, 2, 5, 6.5, 7])).toEqual(['a (1)', 'a (1)', 'not_today', 'not_today', 'not_today', 'a (1)', 'a (1)'])
    const held = decideNag(policy, { sinceMs: START, nagCount: 0, lastRaisedMs: undefined, messageOpen: false, worse: false }, START + 3 * DAY)
    // The next Monday in Tokyo begins at 15:00 UTC of Sunday.
    expect(held).toEqual({ raise: false, because: 'not_today', notBeforeMs: Date.parse('2026-11-08T15:00:00Z') })
  })

  test('raises at once what got worse, also after its last step, and uses up no step for it', () => {
    expect(play(DEFAULT_NAG, [0, 1, 2, 3, 7, 8, 9], [1, 8])).toEqual(['polite (1)', 'polite (1)', 'too_young', 'firm (2)', 'act or drop (3)', 'act or drop (3)', 'silent'])
  })

  test('raises nothing while a message about it is open, not even what got worse', () => {
    const decision = decideNag(DEFAULT_NAG, { sinceMs: START, nagCount: 1, lastRaisedMs: START, messageOpen: true, worse: true }, START + 9 * DAY)

    expect(decision).toMatchObject({ raise: false, because: 'message_open' })
  })

  test('is the first in the file whose topic fits', () => {
    const config = InboxConfig.parse({
      policies: [
        { topic: 'disk.full', steps: [{ tone: 'exact' }] },
        { topic: 'disk.*', steps: [{ tone: 'pattern' }] },
        { topic: '*', steps: [{ tone: 'rest' }] },
      ],
    })

    expect(['disk.full', 'disk.slow', 'disk', 'diskette.full'].map((topic) => policyFor(config, topic).steps[0]?.tone)).toEqual(['exact', 'pattern', 'rest', 'rest'])
    expect(policyFor(InboxConfig.parse({}), 'disk.full')).toBe(DEFAULT_NAG)
  })
})

test('a text is filled in once: braces in what an agent wrote stay as they are', () => {
  const about = { subject: 'host1', body: 'disk {days} {body} $& full', sinceMs: START, count: 4 }

  expect(sayNag({ tone: 'firm', times: 1, after_days: 0, say: '{subject}: {body}, {days} days, {count} times {unknown}' }, about, START + 3.9 * DAY)).toBe(
    'host1: disk {days} {body} $& full, 3 days, 4 times {unknown}',
  )
  expect(sayNag({ tone: 'polite', times: 1, after_days: 0 }, about, START)).toBe(about.body)
})
