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
  readonly run: (body: unknown, deps: ActionDeps) => Promise<Told>
}

/** A change that a page can ask for, with the form that asks for it. */
export function action<S extends z.ZodType>(schema: S, run: (input: z.infer<S>, deps: ActionDeps) => Promise<Told>): Action {
  return { run: (body, deps) => run(parsed(schema, body), deps) }
}

/** @throws AGENTBUS_BAD_REQUEST naming the fields */
export function parsed<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  const result = schema.safeParse(body)
  if (result.success) return result.data
  const faults = result.error.issues.map((issue) => `${issue.path.join('.') || 'form'}: ${issue.message}`)
  throw new AgentbusError('AGENTBUS_BAD_REQUEST', `The form is not valid: ${faults.join('; ')}.`)
}
