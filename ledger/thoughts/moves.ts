import type { IdeaStatus } from '../../contracts/ideas.js'
import type { CandidateStatus, MemoryStatus } from '../../contracts/memories.js'
import type { OpportunityStatus } from '../../contracts/opportunities.js'

/** From a state to those that may follow. A state that none may follow is final. */
export type Moves = Readonly<Record<string, readonly string[]>>

/** The same tables stand as CHECKs on the histories. */
export const IDEA_MOVES = {
  new: ['reviewed', 'promoted_to_opportunity', 'archived'],
  reviewed: ['promoted_to_opportunity', 'archived'],
  promoted_to_opportunity: [],
  archived: [],
} as const satisfies Record<IdeaStatus, readonly IdeaStatus[]>

export const OPPORTUNITY_MOVES = {
  new: ['triaged', 'accepted', 'rejected', 'parked', 'converted_to_job'],
  triaged: ['accepted', 'rejected', 'parked', 'converted_to_job'],
  accepted: ['triaged', 'rejected', 'parked', 'converted_to_job'],
  rejected: [],
  parked: ['triaged', 'accepted', 'rejected', 'converted_to_job'],
  converted_to_job: [],
} as const satisfies Record<OpportunityStatus, readonly OpportunityStatus[]>

export const CANDIDATE_MOVES = {
  new: ['reviewed', 'promoted', 'rejected', 'archived'],
  reviewed: ['promoted', 'rejected', 'archived'],
  promoted: [],
  rejected: [],
  archived: [],
} as const satisfies Record<CandidateStatus, readonly CandidateStatus[]>

/** One that is refreshed or marked as stale stays active. */
export const MEMORY_MOVES = {
  active: ['active', 'superseded', 'expired', 'archived'],
  superseded: [],
  expired: [],
  archived: [],
} as const satisfies Record<MemoryStatus, readonly MemoryStatus[]>

/** The condition, in SQL, that a row is in a state that is not final. The indexes on what is open say the same. */
export function openIn(moves: Moves): string {
  const open = Object.entries(moves).filter(([, next]) => next.length > 0)
  return `status in (${open.map(([status]) => `'${status}'`).join(', ')})`
}

/** All legal moves, in SQL, as pairs of from and to. */
export function legalPairs(moves: Moves): string {
  return Object.entries(moves)
    .flatMap(([from, next]) => next.map((to) => `('${from}', '${to}')`))
    .join(', ')
}
