import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { AgentId, AttemptId, JobId } from '../contracts/ids.js'

/** Who is asking, as the bearer token says. */
export type Caller =
  | { readonly role: 'operator'; readonly tokenId: string; readonly name: string }
  | { readonly role: 'auditor'; readonly tokenId: string; readonly name: string }
  | { readonly role: 'agent'; readonly tokenId: string; readonly name: string; readonly agentId: AgentId }
  /** An attempt's own token: it reads and closes its own job, and acts for its agent on findings, inboxes, projects, ideas, opportunities and memories. */
  | { readonly role: 'attempt'; readonly attemptId: AttemptId; readonly jobId: JobId; readonly agentId: AgentId }
  /** The process itself, or a person at the board. Never made from a token. */
  | { readonly role: 'internal'; readonly actor: Actor }

/** What a command carries beside its input. */
export interface CommandContext {
  readonly caller: Caller
  readonly idempotency?: { readonly key: string; readonly requestHash: string } | undefined
  /** Version from If-Match: the command happens only on that version. */
  readonly ifVersion?: number | undefined
}

/** The author that history rows name for this caller. */
export function actorOf(caller: Caller): Actor {
  switch (caller.role) {
    case 'operator':
      return { kind: 'operator', id: caller.name }
    case 'auditor':
      return { kind: 'auditor', id: caller.name }
    case 'agent':
      return { kind: 'agent', id: caller.agentId }
    case 'attempt':
      return { kind: 'attempt', id: caller.agentId }
    case 'internal':
      return caller.actor
  }
}

/** The agent that a caller is or acts for, if any. */
export function agentOfCaller(caller: Caller): AgentId | undefined {
  return caller.role === 'agent' || caller.role === 'attempt' ? caller.agentId : undefined
}

/** The string that idempotency keys are scoped by. */
export function callerKey(caller: Caller): string {
  switch (caller.role) {
    case 'attempt':
      return `attempt:${caller.attemptId}`
    case 'internal':
      return `internal:${caller.actor.kind}:${caller.actor.id}`
    default:
      return `token:${caller.tokenId}`
  }
}

/** @throws AGENTBUS_FORBIDDEN unless the caller is an operator or the process itself */
export function requireOperator(caller: Caller): void {
  if (caller.role === 'operator' || caller.role === 'internal') return
  throw new AgentbusError('AGENTBUS_FORBIDDEN', 'Only an operator may do that.', { role: caller.role })
}
