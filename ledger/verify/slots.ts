import { accountability } from '../accountability.js'
import { instantOf } from '../presence.js'
import type { Reader } from './reader.js'
import { Findings, resultOf, type CheckResult } from './report.js'
import { SLOT_STATEMENTS } from './state-checks.js'
import { runStatements, type Bounds } from './statements.js'

/** How far back the slots are counted anew, when nobody says: the recount of an order goes due time by due time. */
const RECOUNT_DAYS = 7

/** Slots agree with their histories and jobs, and each one that the definitions in force called for is a row. */
export async function checkSlots(reader: Reader, bounds: Bounds, nowMs: number): Promise<CheckResult> {
  const states = await runStatements(reader.client, SLOT_STATEMENTS, bounds)
  const findings = new Findings(states.violations)
  const from = bounds.since ?? instantOf(nowMs - RECOUNT_DAYS * 24 * 3_600_000)
  const counted = await accountability(reader.db, { from }, nowMs)
  let slots = 0
  for (const line of counted.lines) {
    slots += line.expected
    if (line.unaccounted === 0) continue
    findings.add({
      kind: 'slots_unaccounted',
      what: `Standing order ${line.order} lacks ${line.unaccounted} slots between ${counted.from} and ${counted.to}.`,
      row: { order: line.order, from: counted.from, to: counted.to, unaccounted: line.unaccounted, expected: line.expected },
      next: 'List its slots with `agentbus slots`, find the due times that have no row, and compare with a backup: slots are planned before they are due and never deleted.',
    })
  }
  return resultOf('slots', slots, findings, `counted anew from ${counted.from}`)
}
