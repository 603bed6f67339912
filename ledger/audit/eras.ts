import { XACT, type Checkpoint } from './checkpoint-text.js'

/** A checkpoint that records a restore, and up to which id rows of a table were restored. */
export interface Restore {
  readonly seq: number
  /** Names the restore: each has another one. */
  readonly restored_to: string
  readonly boundary: string
}

/** Selects each {@link Restore}, oldest first, with its boundary in the histories of jobs. */
export const RESTORES = 'select seq, restored_to::text as restored_to, restored_to::text as boundary from audit_checkpoints where restored_to is not null order by seq'

/** Which rows have numbers of the same cluster: those with an id above `after`, and up to `upTo` if a restore ended the era. */
export interface Era {
  readonly after: bigint
  readonly upTo: bigint | undefined
}

/**
 * An era is the time in which transaction numbers only rise. A restore from a dump ends it: rows that were dumped keep the numbers
 * of the old cluster, and the new one counts from the beginning. Ids go on rising, so they tell the eras apart.
 */
export class Eras {
  readonly #restores: readonly Restore[]

  /** @param restores all of them, oldest first; there are as many as there were restores */
  constructor(restores: readonly Restore[]) {
    this.#restores = restores
  }

  /** How many restores are on record. */
  get restores(): number {
    return new Set(this.#restores.map(({ restored_to }) => restored_to)).size
  }

  /** Up to which id the newest restore reaches; undefined when there was none. */
  get newest(): bigint | undefined {
    const last = this.#restores.at(-1)
    return last === undefined ? undefined : BigInt(last.restored_to)
  }

  /** The era that a checkpoint covers rows of. A restore that was recorded in parts has the same name in each. */
  of({ seq, restored_to }: Pick<Checkpoint, 'seq' | 'restored_to'>): Era {
    const before = this.#restores.findLast((one) => one.seq < seq && one.restored_to !== restored_to)
    const end = this.#restores.find((one) => one.seq >= seq)
    return { after: BigInt(before?.boundary ?? 0), upTo: end === undefined ? undefined : BigInt(end.boundary) }
  }
}

/** Where the transactions of a checkpoint begin: where those of the one before ended, and at 0 in a new era. */
export function beginsAt(before: Pick<Checkpoint, 'xact_to' | 'restored_to'> | undefined, restoredTo: string | null): string {
  if (before === undefined) return '0'
  return before.restored_to !== null && before.restored_to !== restoredTo ? '0' : before.xact_to
}

/** Restricts history rows `t` to an era. */
export function inEra({ after, upTo }: Era, id = 'id'): string {
  return `${after === 0n ? 'true' : `t.${id} > ${after}`}${upTo === undefined ? '' : ` and t.${id} <= ${upTo}`}`
}

/** The history rows `t` that a checkpoint covers. */
export function coveredBy({ xact_from, xact_to }: Pick<Checkpoint, 'xact_from' | 'xact_to'>, era: Era, id = 'id'): string {
  return `${XACT} >= ${BigInt(xact_from)} and ${XACT} < ${BigInt(xact_to)} and ${inEra(era, id)}`
}
