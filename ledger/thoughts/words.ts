import type { Kind } from './rows.js'

/**
 * What was said, and by whom: the columns of each kind that nothing changes afterwards, in the order in which they are hashed. The first row of a
 * history keeps that hash, and checkpoints list the row, so that words are not changed behind anybody's back. Frozen: the hash is kept for good.
 * The triggers `*_words_stay` guard the same columns, and the functions `idea_words` and so on hash them in the database; a test compares the three.
 */
export const WORDS: Readonly<Record<Kind, readonly string[]>> = {
  idea: ['id', 'namespace', 'source_agent', 'theme', 'title', 'body', 'evidence', 'tags', 'dedupe_key', 'created_by'],
  opportunity: [
    ...['id', 'namespace', 'source_agent', 'theme', 'title', 'why_now', 'evidence', 'impact_score', 'confidence_score', 'urgency_score'],
    ...['reversibility', 'owner_candidate', 'suggested_next_step', 'dedupe_key', 'created_by'],
  ],
  candidate: [
    ...['id', 'namespace', 'source_agent', 'candidate_kind', 'scope', 'subject_key', 'title', 'body', 'evidence', 'source_refs'],
    ...['confidence_score', 'stability', 'visibility', 'visible_to', 'dedupe_key', 'created_by'],
  ],
  memory: [
    ...['id', 'namespace', 'kind', 'scope', 'subject_key', 'title', 'body', 'owner_agent', 'source_candidate_id', 'source_refs'],
    ...['stability', 'visibility', 'visible_to', 'supersedes_memory_id', 'dedupe_key', 'created_by'],
  ],
}

/** SQL for the hash of what row `row` of a kind says. */
export function wordsHash(kind: Kind, row: string): string {
  const columns = WORDS[kind].map((column) => `${row}.${column}`)
  return `sha256(convert_to(jsonb_build_array(${columns.join(', ')})::text, 'UTF8'))`
}
