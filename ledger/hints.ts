import { EventEmitter } from 'node:events'
import type { Tx } from './database.js'

/**
 * What a commit is worth telling at once. A hint only saves time: whoever misses it finds the same by polling.
 * `closed` names attempts that have ended, `over` jobs that have; `outbox` says that the relay has work; `fleet` that agents,
 * gateways or controls have changed.
 */
export interface Hint {
  readonly outbox?: boolean
  readonly closed?: readonly string[]
  readonly over?: readonly string[]
  readonly fleet?: boolean
}

const pending = new WeakMap<Tx, { outbox: boolean; closed: Set<string>; over: Set<string>; fleet: boolean }>()

function hintsOf(tx: Tx) {
  const known = pending.get(tx)
  if (known !== undefined) return known
  const fresh = { outbox: false, closed: new Set<string>(), over: new Set<string>(), fleet: false }
  pending.set(tx, fresh)
  return fresh
}

/** Notes a hint to be given when the transaction has committed. */
export function hintAfterCommit(tx: Tx, hint: Hint): void {
  const hints = hintsOf(tx)
  if (hint.outbox === true) hints.outbox = true
  if (hint.fleet === true) hints.fleet = true
  for (const id of hint.closed ?? []) hints.closed.add(id)
  for (const id of hint.over ?? []) hints.over.add(id)
}

/** Takes what the transaction noted; undefined when it noted nothing. */
export function takeHints(tx: Tx): Hint | undefined {
  const hints = pending.get(tx)
  pending.delete(tx)
  if (hints === undefined) return undefined
  return { outbox: hints.outbox, closed: [...hints.closed], over: [...hints.over], fleet: hints.fleet }
}

/** Spreads hints inside this process, and between processes through {@link HintRelay}. */
export class HintBus {
  readonly #emitter = new EventEmitter().setMaxListeners(0)

  give(hint: Hint): void {
    this.#emitter.emit('hint', hint, 'local')
  }

  /** For hints that came from another process: they are not sent out again. */
  receive(hint: Hint): void {
    this.#emitter.emit('hint', hint, 'remote')
  }

  /** @returns a function that ends the subscription */
  listen(listener: (hint: Hint, origin: 'local' | 'remote') => void): () => void {
    this.#emitter.on('hint', listener)
    return () => this.#emitter.off('hint', listener)
  }
}
