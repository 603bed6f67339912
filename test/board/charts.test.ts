import { expect, test } from 'vitest'
import { spanChart } from '../../board/console/charts.js'

const at = ['10:00', '10:05', '10:10', '10:15'].map((time) => `2026-11-02T${time}:00.000Z`)
const none = [null, null, null, null]

test('a line of lengths of time breaks off where nothing was measured, and what stands alone is a spot', () => {
  const drawn = spanChart({ label: 'waits', at, half: [0, null, 2.5, 5], most: [null, 5, null, null] }).text

  expect([...drawn.matchAll(/<path class="line (\w+)" d="([^"]+)"/g)].map(([, kind, d]) => [kind, d])).toEqual([['half', 'M684.7 83.0L1000.0 8.0']])
  expect([...drawn.matchAll(/<circle class="spot (\w+)" cx="([^"]+)" cy="([^"]+)"/g)].map(([, ...found]) => found)).toEqual([
    ['half', '54.0', '158.0'],
    ['most', '369.3', '8.0'],
  ])
  expect(drawn).toContain('aria-label="waits"')
})

test.each([
  [0, ['0', '5 ms', '10 ms']],
  [0.03, ['0', '25 ms', '50 ms']],
  [7, ['0', '5.0 s', '10 s']],
  [100, ['0', '60 s', '2 min']],
  [1_800, ['0', '30 min', '60 min']],
  [30_000, ['0', '6 h', '12 h']],
  [400_000, ['0', '4 d', '8 d']],
])('a scale up to %d s is told in round lengths of time', (most, words) => {
  const drawn = spanChart({ label: 'runs', at, half: none, most: [most, null, null, null] }).text

  expect([...drawn.matchAll(/text-anchor="end">([^<]+)<\/text>/g)].map(([, text]) => text).slice(0, 3)).toEqual(words)
})
