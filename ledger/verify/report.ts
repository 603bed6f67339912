/** One broken rule, with the row that breaks it. */
export interface Violation {
  /** Stable word for this kind of fault. */
  readonly kind: string
  /** A sentence for people that names the row. */
  readonly what: string
  readonly row: Readonly<Record<string, unknown>>
  readonly next: string
  /** How many there are of this kind; only the first is kept. */
  readonly count: number
}

/** `skipped`: nobody asked for it, or there is nothing to check it with. `unchecked`: it was asked for and could not be done. */
export type Verdict = 'ok' | 'violated' | 'skipped' | 'unchecked'

export interface CheckResult {
  readonly check: string
  readonly verdict: Verdict
  /** How many rows were looked at; 0 where PostgreSQL alone has looked. */
  readonly examined: number
  readonly violations: readonly Violation[]
  readonly note?: string
}

/** What was found so far: the first of each kind, and how many. Its size is bounded by the number of kinds. */
export class Findings {
  readonly #byKind: Map<string, Violation>

  constructor(known: readonly Violation[] = []) {
    this.#byKind = new Map(known.map((one) => [one.kind, one]))
  }

  add(one: Omit<Violation, 'count'>, count = 1): void {
    const known = this.#byKind.get(one.kind)
    this.#byKind.set(one.kind, known === undefined ? { ...one, count } : { ...known, count: known.count + count })
  }

  list(): Violation[] {
    return [...this.#byKind.values()]
  }
}

/** The verdict of a check that was carried out to its end. */
export function resultOf(check: string, examined: number, findings: Findings, note?: string): CheckResult {
  const violations = findings.list()
  return { check, verdict: violations.length === 0 ? 'ok' : 'violated', examined, violations, ...(note === undefined ? {} : { note }) }
}
