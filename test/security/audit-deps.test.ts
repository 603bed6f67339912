import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { AllowedAdvisories, judge } from '../../scripts/audit-report.js'

const ID = 'GHSA-aaaa-bbbb-cccc'
const TODAY = '2026-11-21'

/** A report as npm prints it: `app` is only affected by way of `left`. */
const report = JSON.stringify({
  auditReportVersion: 2,
  vulnerabilities: {
    left: { name: 'left', severity: 'high', via: [{ source: 1, name: 'left', title: 'Reads too far', url: `https://github.com/advisories/${ID}`, severity: 'high' }] },
    app: { name: 'app', severity: 'high', via: ['left'] },
  },
})
const allowed = (more: Partial<AllowedAdvisories[number]> = {}): AllowedAdvisories => [
  { advisory: ID, package: 'left', reason: 'Only reached with input of our own.', expires: '2026-12-31', ...more },
]

describe('the report of npm audit', () => {
  test('without advisories is clean', () => {
    expect(judge(JSON.stringify({ auditReportVersion: 2, vulnerabilities: {} }), [], TODAY)).toMatchObject({ kind: 'clean' })
  })

  test('with one that nobody allowed is a fault that names it once', () => {
    expect(judge(report, [], TODAY)).toEqual({ kind: 'faults', lines: ['1 faults', `${ID} in left (high): Reads too far`] })
  })

  test('with one that is allowed says why, until its day has passed', () => {
    expect(judge(report, allowed(), TODAY)).toMatchObject({ kind: 'clean', lines: [expect.anything(), expect.stringContaining('Only reached with input of our own.')] })
    expect(judge(report, allowed({ expires: '2026-11-20' }), TODAY)).toMatchObject({ kind: 'faults' })
    expect(judge(report, allowed({ package: 'right' }), TODAY)).toMatchObject({
      kind: 'faults',
      lines: ['2 faults', expect.stringContaining('not reported any more'), expect.anything()],
    })
  })

  test.each([
    ['an error of the registry', '{"message": "404 at https://user:pw@host/", "statusCode": 404, "error": {"code": "ENOAUDIT"}}', 'HTTP 404'],
    ['nothing', '', 'no report'],
    ['a page', '<html>', 'no report'],
  ])('that is %s is not taken for a clean one', (_what, printed, why) => {
    const verdict = judge(printed, [], TODAY)

    expect(verdict.kind).toBe('unanswered')
    expect(verdict.lines[0]).toMatch(/^not answered: .* Nothing is known/)
    expect(verdict.lines[0]).toContain(why)
    expect(verdict.lines.join()).not.toContain('user:pw')
  })
})

test('the list of what is allowed is a valid one, with reasons and days', async () => {
  expect(() => AllowedAdvisories.parse([{ ...allowed()[0], reason: 'ok' }])).toThrow()
  expect(() => AllowedAdvisories.parse([{ ...allowed()[0], expires: 'never' }])).toThrow()
  expect(AllowedAdvisories.parse(JSON.parse(await readFile('scripts/allowed-advisories.json', 'utf8')))).toBeDefined()
})
