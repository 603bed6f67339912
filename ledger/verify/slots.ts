import { countSlots } from '../accountability.js'
import { instantOf } from '../presence.js'
import type { Reader } from './reader.js'
import type { Findings } from './report.js'
import { SLOT_STATEMENTS } from './state-checks.js'
import { runStatements, type Bounds } from './statements.js'

/** Counted at once: what is missing in one week is not made up for by another. */
const WINDOW_MS = 7 * 24 * 3_600_000

/** Up to where slots were counted anew, ISO 8601, and since when. */
export interface SlotPosition {
  readonly from: string
  readonly to: string
}

/**
 * Slots agree with their histories and jobs, and each one that the definitions in force called for is a row. Goes week by week from the
 * first definition, or from `since`, so that memory does not grow with the time. @returns from when on slots were counted
 */
export async function walkSlots(
  reader: Reader,
  options: {
    readonly from: SlotPosition | undefined
    readonly bounds: Bounds
    readonly nowMs: number
    readonly findings: Findings
    readonly onPage: (position: SlotPosition, slots: number) => Promise<void>
  },
): Promise<string> {
  const { bounds, nowMs, findings } = options
  if (options.from === undefined) {
    const states = await runStatements(reader.client, SLOT_STATEMENTS, bounds)
    for (const { count, ...one } of states.violations) findings.add(one, count)
  }
  const from = options.from?.from ?? bounds.since ?? (await firstDefinition(reader, nowMs))
  for (let at = Date.parse(options.from?.to ?? from); at < nowMs; at += WINDOW_MS) {
    const to = Math.min(at + WINDOW_MS, nowMs)
    const slots = await countWindow(reader, { from: instantOf(at), to: instantOf(to) }, nowMs, findings)
    await options.onPage({ from, to: instantOf(to) }, slots)
  }
  return from
}

async function firstDefinition(reader: Reader, nowMs: number): Promise<string> {
  const { rows } = await reader.client.query<{ first: Date | null }>('select min(in_force_from) as first from standing_order_versions')
  return instantOf(rows[0]?.first?.getTime() ?? nowMs)
}

async function countWindow(reader: Reader, window: { readonly from: string; readonly to: string }, nowMs: number, findings: Findings): Promise<number> {
  const { from, to, counts } = await countSlots(reader.db, window, nowMs)
  let slots = 0
  for (const { line, missing, uncalled } of counts) {
    slots += line.expected
    const row = { order: line.order, from, to }
    const [firstMissing, firstUncalled] = [missing[0], uncalled[0]]
    if (firstMissing !== undefined)
      findings.add({
        kind: 'slots_unaccounted',
        what: `Standing order ${line.order} lacks ${missing.length} slots between ${from} and ${to}; the first is that of ${instantOf(firstMissing)}.`,
        row: { ...row, unaccounted: missing.length, expected: line.expected, first: instantOf(firstMissing) },
        next: 'Compare with a backup: slots are planned before they are due and never deleted.',
      })
    if (firstUncalled !== undefined)
      findings.add({
        kind: 'slots_uncalled_for',
        what: `Standing order ${line.order} has ${uncalled.length} slots between ${from} and ${to} that no definition in force then called for; the first is that of ${instantOf(firstUncalled)}.`,
        row: { ...row, uncalled_for: uncalled.length, first: instantOf(firstUncalled) },
        next: 'The ledger plans no other slots than those: one was put in, or moved to another time. Compare with a backup.',
      })
  }
  return slots
}
