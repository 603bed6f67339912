import type { z } from 'zod'
import type { Caller, CommandContext } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'
import type { WaitingClients } from './waiting.js'

export interface RouteDeps {
  readonly ledger: Ledger
  readonly waiting: WaitingClients
}

export interface Reply {
  readonly status: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** It shows what changes while its version stays: the ETag is for `If-Match` alone, and no 304 is answered. */
  readonly isLive?: true
}

/** Who may come in at all; what the ledger refuses beyond that it refuses itself. */
export type Access = 'anyone with a token' | 'operator or auditor' | 'operator'

export interface RouteSpec<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  readonly params?: P
  readonly query?: Q
  readonly body?: B
  readonly response: z.ZodType
}

export interface RouteInput<P, Q, B> {
  readonly params: P
  readonly query: Q
  readonly body: B
  readonly caller: Caller
  /** Aborts when the client has gone. */
  readonly gone: AbortSignal
  readonly context: CommandContext
}

/** A route as data: the handler and the OpenAPI document come from the same row. */
export interface Route {
  readonly id: string
  readonly method: 'get' | 'post' | 'put' | 'delete'
  /** With parameters in braces, as OpenAPI writes them. */
  readonly path: string
  readonly summary: string
  readonly tag: string
  readonly access: Access
  readonly status: number
  /** Whether `If-Match` makes it conditional on a version. */
  readonly isConditional: boolean
  /** A second success, with when it comes: the same body under another status. */
  readonly also?: { readonly status: number; readonly when: string }
  readonly spec: RouteSpec<z.ZodType, z.ZodType, z.ZodType>
  readonly handle: (input: RouteInput<unknown, unknown, unknown>, deps: RouteDeps) => Promise<Reply>
}

/** Types a route's handler from its schemas. */
export function defineRoute<P extends z.ZodType = z.ZodUndefined, Q extends z.ZodType = z.ZodUndefined, B extends z.ZodType = z.ZodUndefined>(route: {
  readonly id: string
  readonly method: 'get' | 'post' | 'put' | 'delete'
  readonly path: string
  readonly summary: string
  readonly tag: string
  readonly access?: Access
  readonly status?: number
  readonly isConditional?: boolean
  readonly also?: { readonly status: number; readonly when: string }
  readonly spec: RouteSpec<P, Q, B>
  readonly handle: (input: RouteInput<z.infer<P>, z.infer<Q>, z.infer<B>>, deps: RouteDeps) => Promise<Reply>
}): Route {
  return {
    ...route,
    access: route.access ?? 'anyone with a token',
    status: route.status ?? 200,
    isConditional: route.isConditional ?? false,
    handle: (input, deps) => route.handle(input as RouteInput<z.infer<P>, z.infer<Q>, z.infer<B>>, deps),
  }
}
