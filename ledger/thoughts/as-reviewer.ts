import type { ErrorCode } from '../../contracts/errors.js'
import type { AgentId } from '../../contracts/ids.js'
import { asCaller, type CallerDeps, type CallerRun } from '../as-caller.js'
import { agentOfCaller, type CommandContext } from '../caller.js'
import type { Tx } from '../database.js'

/** Who says or decides something, and for which run. */
export interface Reviewer extends CallerRun {
  /** The agent that the caller is or acts for; undefined for an operator and the bus. */
  readonly agentId: AgentId | undefined
}

/** How a row names its author. */
export function signed({ actor }: Pick<Reviewer, 'actor'>): string {
  return `${actor.kind}:${actor.id}`
}

const LEAVES_A_ROW: ReadonlySet<ErrorCode> = new Set([
  'AGENTBUS_UNAUTHORIZED',
  'AGENTBUS_FORBIDDEN',
  'AGENTBUS_FROZEN',
  'AGENTBUS_REVIEW_OVER',
  'AGENTBUS_MEMORY_EXISTS',
  'AGENTBUS_VERSION_MISMATCH',
  'AGENTBUS_DELEGATION_REFUSED',
  'AGENTBUS_LIMIT_REACHED',
])

/** A command on ideas, opportunities or memories: one transaction in the caller's name, as {@link asCaller} says. */
export function asReviewer<T extends Record<string, unknown>>(
  deps: CallerDeps,
  context: CommandContext,
  work: (tx: Tx, by: Reviewer) => Promise<T>,
  options: { readonly sent?: unknown; readonly again?: (tx: Tx, answer: T) => Promise<unknown> } = {},
): Promise<T & { replayed?: boolean }> {
  return asCaller(deps, context, LEAVES_A_ROW, (tx, run) => work(tx, { ...run, agentId: agentOfCaller(context.caller) }), options)
}
