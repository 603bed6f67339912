import { CANDIDATE_MOVES, IDEA_MOVES, MEMORY_MOVES, OPPORTUNITY_MOVES, type Moves } from './moves.js'
import type { Kind } from './rows.js'

interface KindOf {
  /** For people. */
  readonly name: string
  readonly table: string
  readonly reviews: string
  /** The column of its history that names it. */
  readonly key: string
  /** The type of its states. */
  readonly status: string
  readonly moves: Moves
}

/** Where each kind of thought lies, and how it moves. */
export const KINDS: Readonly<Record<Kind, KindOf>> = {
  idea: { name: 'Idea', table: 'ideas', reviews: 'idea_reviews', key: 'idea_id', status: 'idea_status', moves: IDEA_MOVES },
  opportunity: { name: 'Opportunity', table: 'opportunities', reviews: 'opportunity_reviews', key: 'opportunity_id', status: 'opportunity_status', moves: OPPORTUNITY_MOVES },
  candidate: {
    name: 'Memory candidate',
    table: 'memory_candidates',
    reviews: 'memory_candidate_reviews',
    key: 'memory_candidate_id',
    status: 'memory_candidate_status',
    moves: CANDIDATE_MOVES,
  },
  memory: { name: 'Memory', table: 'memories', reviews: 'memory_reviews', key: 'memory_id', status: 'memory_status', moves: MEMORY_MOVES },
}
