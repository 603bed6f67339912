import type { z } from 'zod'
import { AgentbusError } from '../../contracts/errors.js'
import type { CommandContext } from '../../ledger/caller.js'
import type { Ledger } from '../../ledger/ledger.js'

export interface Told {
  readonly message: string
}

export interface ActionDeps {
  readonly ledger: Ledger
  readonly context: CommandContext
}

export interface Action {
  /** The `id` of its form is a job's. */
  readonly isOnJob: boolean
  /** @throws AgentbusError for what the form or the command does not allow; whoever calls it writes that down */
  readonly run: (body: unknown, deps: ActionDeps) => Promise<Told>
}

/** A change that a page can ask for, with the form that asks for it. */
export function action<S extends z.ZodType>(schema: S, run: (input: z.infer<S>, deps: ActionDeps) => Promise<Told>): Action {
  return { isOnJob: false, run: async (body, deps) => run(parsed(schema, body), deps) }
}

/** The same, of one job, which its form names by `id`. */
export function jobAction<S extends z.ZodType>(schema: S, run: (input: z.infer<S>, deps: ActionDeps) => Promise<Told>): Action {
  return { ...action(schema, run), isOnJob: true }
}

/** @throws AGENTBUS_BAD_REQUEST naming the fields */
export function parsed<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  const result = schema.safeParse(body)
  if (result.success) return result.data
  const faults = result.error.issues.map((issue) => `${issue.path.join('.') || 'form'}: ${issue.message}`)
  throw new AgentbusError('AGENTBUS_BAD_REQUEST', `The form is not valid: ${faults.join('; ')}.`)
}
