import { expect, test } from 'vitest'
import { CliError } from '../../cli/io.js'
import { timeOption } from '../../cli/time-option.js'

test.each([
  ['2026-11-20', '2026-11-20T00:00:00.000Z'],
  ['2026-11-20T08:00Z', '2026-11-20T08:00:00.000Z'],
  ['2026-11-20T08:00:00.25Z', '2026-11-20T08:00:00.250Z'],
  ['2026-11-20T08:00:00+02:00', '2026-11-20T06:00:00.000Z'],
])('%s is a time', (text, utc) => {
  expect(timeOption('--since', text)).toBe(utc)
})

test.each([
  '',
  'yesterday',
  '5',
  '30m',
  '2026',
  '11/12/2026',
  'Nov 12 2026',
  '2026-13-01',
  '2026-02-30',
  '2026-11-31T00:00Z',
  '2026-11-20T25:00Z',
  '+012026-11-20T00:00:00Z',
  'Fri, 20 Nov 2026 00:00:00 GMT',
])('%j is none, and is not read as some other time', (text) => {
  const refused = attempt(() => timeOption('--since', text))

  expect(refused).toBeInstanceOf(CliError)
  expect(refused).toMatchObject({ exitCode: 2, message: `--since ${text} is not a time; give it as 2026-11-20T00:00:00Z.` })
})

function attempt(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}
