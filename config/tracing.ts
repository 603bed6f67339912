import { AsyncLocalStorage } from 'node:async_hooks'

/** Plain values that are safe to leave the machine: ids, names, states. Never a payload, a prompt or a token. */
export type SpanAttributes = Readonly<Record<string, string | number>>

/** A span under way. `traceparent` is its W3C trace context, for whatever goes on elsewhere. */
export interface OpenSpan {
  readonly traceparent: string
  set(attributes: SpanAttributes): void
  end(outcome?: { readonly error?: string }): void
}

/**
 * Traces, for those who asked for them; undefined everywhere else, and then nothing of OpenTelemetry is loaded. The one
 * implementation is in `cli/tracing.ts`.
 */
export interface Tracing {
  /** What BullMQ's own hook takes. */
  readonly queueTelemetry: unknown
  /** A span that serves a request; a child of `parent`, if that is a valid traceparent. */
  serve(name: string, options: { readonly parent: string | undefined; readonly attributes: SpanAttributes }): OpenSpan
  /** The span of a job on its way into the queue, and what its entry carries on. */
  enqueue(name: string, options: { readonly parent: string | undefined; readonly attributes: SpanAttributes }): { readonly metadata: string }
  /** A call of another server, as a child of what this process does at the moment; `headers` carry the trace there. */
  call<T>(name: string, attributes: SpanAttributes, work: (headers: Readonly<Record<string, string>>) => Promise<T>, outcomeOf: (result: T) => SpanAttributes): Promise<T>
  /** Sends what has been kept back. */
  stop(): Promise<void>
}

const current = new AsyncLocalStorage<string>()

/** Does `work`, and all that it starts, as part of a trace. */
export function withTraceparent<T>(traceparent: string, work: () => T): T {
  return current.run(traceparent, work)
}

/** The trace context of the request that is being served, if it is traced. */
export function currentTraceparent(): string | undefined {
  return current.getStore()
}

const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** A traceparent as W3C has it, version 00; undefined for anything else. */
export function parseTraceparent(text: unknown): string | undefined {
  return typeof text === 'string' && TRACEPARENT.test(text) ? text : undefined
}
