import { z } from 'zod'
import { AgentbusError } from '../../contracts/errors.js'
import type { Ledger } from '../../ledger/ledger.js'
import type { Page } from './page.js'

export interface PageDeps {
  readonly ledger: Ledger
  readonly nowMs: number
}

export interface PageInput {
  readonly params: Readonly<Record<string, string | undefined>>
  readonly query: Readonly<Record<string, unknown>>
}

export type PageHandler = (input: PageInput, deps: PageDeps) => Promise<Page>

/** Reads the query of a page; a form sends its empty fields too, and they mean nothing. @throws AGENTBUS_BAD_REQUEST naming the fields */
export function queryOf<S extends z.ZodType>(schema: S, query: Readonly<Record<string, unknown>>): z.infer<S> {
  const given = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== ''))
  const result = schema.safeParse(given)
  if (result.success) return result.data
  throw new AgentbusError(
    'AGENTBUS_BAD_REQUEST',
    `The address is not one of this page: ${result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')}.`,
  )
}

/** The id in a path. @throws AGENTBUS_NOT_FOUND for what can be no id */
export function idOf<S extends z.ZodType>(schema: S, value: string | undefined): z.infer<S> {
  const result = schema.safeParse(value?.toLowerCase())
  if (!result.success) throw new AgentbusError('AGENTBUS_NOT_FOUND', 'Nothing has that id.')
  return result.data
}
