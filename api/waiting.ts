import { AgentbusError } from '../contracts/errors.js'
import type { Caller } from '../ledger/caller.js'

/** Waits that one token may have open in one process. Each holds a connection and a timer for up to five minutes. */
export const WAITS_PER_TOKEN = 1_000

/** Counts the requests that wait for the end of a job, so that one token cannot take every connection of the process. */
export class WaitingClients {
  readonly #open = new Map<string, number>()
  readonly #most: number

  constructor(most: number = WAITS_PER_TOKEN) {
    this.#most = most
  }

  /**
   * Does `work` as one of the waits of the caller.
   * @throws AGENTBUS_TOO_MANY_REQUESTS (with retry_after in seconds) before anything of it is done
   */
  async within<T>(caller: Caller, work: () => Promise<T>): Promise<T> {
    const who = ownerOf(caller)
    const open = this.#open.get(who) ?? 0
    if (open >= this.#most) {
      throw new AgentbusError('AGENTBUS_TOO_MANY_REQUESTS', `This token has ${open} requests that wait for jobs; nothing was done for this one.`, { retry_after: 5 })
    }
    this.#open.set(who, open + 1)
    try {
      return await work()
    } finally {
      const left = (this.#open.get(who) ?? 1) - 1
      if (left > 0) this.#open.set(who, left)
      else this.#open.delete(who)
    }
  }
}

function ownerOf(caller: Caller): string {
  switch (caller.role) {
    case 'attempt':
      return caller.attemptId
    case 'internal':
      return caller.actor.id
    default:
      return caller.tokenId
  }
}
