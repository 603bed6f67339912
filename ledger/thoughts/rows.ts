import type { InferSelectModel } from 'drizzle-orm'
import type { ideas, memories, memory_candidates, opportunities } from '../schema/index.js'

/** The rows of the four tables, by what they are called here. */
export interface Rows {
  readonly idea: InferSelectModel<typeof ideas>
  readonly opportunity: InferSelectModel<typeof opportunities>
  readonly candidate: InferSelectModel<typeof memory_candidates>
  /** With whether agents may be told it when it was read. */
  readonly memory: InferSelectModel<typeof memories> & { readonly f_in_force: boolean }
}
export type Kind = keyof Rows
