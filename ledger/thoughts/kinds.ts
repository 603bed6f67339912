import { CANDIDATE_MOVES, IDEA_MOVES, MEMORY_MOVES, OPPORTUNITY_MOVES, type Moves } from './moves.js'
import type { Kind } from './rows.js'

interface KindOf {
  /** For people. */
  readonly name: string
  readonly table: string
  /** What is read of a row, wherever one is read. */
  readonly columns: string
  readonly reviews: string
  /** The column of its history that names it. */
  readonly key: string
  /** Whether its history says what has changed beside the state. */
  readonly hasDetails: boolean
  /** The type of its states. */
  readonly status: string
  readonly moves: Moves
}

/** Where each kind of thought lies, and how it moves. */
export const KINDS: Readonly<Record<Kind, KindOf>> = {
  idea: { name: 'Idea', table: 'ideas', columns: '*', reviews: 'idea_reviews', key: 'idea_id', hasDetails: true, status: 'idea_status', moves: IDEA_MOVES },
  opportunity: {
    name: 'Opportunity',
    table: 'opportunities',
    columns: '*',
    reviews: 'opportunity_reviews',
    key: 'opportunity_id',
    hasDetails: false,
    status: 'opportunity_status',
    moves: OPPORTUNITY_MOVES,
  },
  candidate: {
    name: 'Memory candidate',
    table: 'memory_candidates',
    columns: '*',
    reviews: 'memory_candidate_reviews',
    key: 'memory_candidate_id',
    hasDetails: false,
    status: 'memory_candidate_status',
    moves: CANDIDATE_MOVES,
  },
  memory: {
    name: 'Memory',
    table: 'memories',
    // From its end on agents are not told it, written down or not.
    columns: `*, (status = 'active' and (expires_at is null or expires_at > clock_timestamp())) as f_in_force`,
    reviews: 'memory_reviews',
    key: 'memory_id',
    hasDetails: true,
    status: 'memory_status',
    moves: MEMORY_MOVES,
  },
}
