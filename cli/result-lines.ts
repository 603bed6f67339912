import type { CheckResult } from '../ledger/verify/report.js'
import { jsonText, oneLine } from './printable.js'

const WORDS = { ok: 'ok', violated: 'VIOLATED', skipped: 'not checked', unchecked: 'NOT CHECKED' } as const

/** A check for people: a line, and three more for the first fault of each kind. */
export function resultLines(result: CheckResult): string {
  const rows = result.examined === 0 ? undefined : `${result.examined.toLocaleString('en')} rows`
  const about = [rows, result.note].filter((part) => part !== undefined).join(', ')
  const head = `${WORDS[result.verdict].padEnd(12)} ${result.check.padEnd(12)} ${about}`.trimEnd()
  const faults = result.violations.flatMap(({ kind, what, row, next, count }) => [
    `  ${kind}${count > 1 ? ` (the first of ${count})` : ''}: ${oneLine(what)}`,
    `    row: ${oneLine(jsonText(row, { indent: 0 }))}`,
    `    do:  ${oneLine(next)}`,
  ])
  return `${[head, ...faults].join('\n')}\n`
}
