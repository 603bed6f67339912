import { AgentbusError } from '../contracts/errors.js'

/** Commands that one process works on at the same time: about four for each connection that transactions have. */
export const COMMANDS_AT_ONCE = 32

/** Longer than a client with any patience waits, and as long as a command may wait for a connection to the ledger. */
const LONGEST_WAIT_MS = 10_000

interface Waiting {
  readonly enter: () => void
  readonly refuse: () => void
}

/**
 * Lets so many in at a time. Whoever came last is next, and who has gone is forgotten: when more is asked than can be done,
 * first come, first served means that each is served after it has given up, and its repeat stands at the end of the
 * line. Under such a load a machine then does nothing but work that nobody waits for.
 */
export class Turnstile {
  readonly #most: number
  readonly #longestMs: number
  /** In the order of arrival. */
  readonly #line: Waiting[] = []
  #inside = 0

  constructor(options: { readonly most?: number; readonly longestMs?: number } = {}) {
    this.#most = options.most ?? COMMANDS_AT_ONCE
    this.#longestMs = options.longestMs ?? LONGEST_WAIT_MS
  }

  /**
   * Does `work` when there is room.
   * @returns undefined, with nothing done, when the client has gone before that
   * @throws AGENTBUS_UNAVAILABLE, with nothing done, when there was no room for 10 s
   */
  async within<T>(gone: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
    if (gone.aborted) return undefined
    if (this.#inside < this.#most) this.#inside += 1
    else if (!(await this.#turnOf(gone))) return undefined
    try {
      return await work()
    } finally {
      this.#leave()
    }
  }

  /** Resolves with the place of one who has left, or false when the client has gone. */
  #turnOf(gone: AbortSignal): Promise<boolean> {
    return new Promise<boolean>((resolve, reject) => {
      const stopWaiting = (): void => {
        const place = this.#line.lastIndexOf(waiting)
        if (place >= 0) this.#line.splice(place, 1)
        clearTimeout(timer)
        gone.removeEventListener('abort', goAway)
      }
      const goAway = (): void => {
        stopWaiting()
        resolve(false)
      }
      const waiting: Waiting = {
        enter: () => {
          stopWaiting()
          resolve(true)
        },
        refuse: () => {
          stopWaiting()
          reject(new AgentbusError('AGENTBUS_UNAVAILABLE', 'More is asked than this process can do; nothing was done for this request.', { retry_after: 1 }))
        },
      }
      const timer = setTimeout(waiting.refuse, this.#longestMs)
      this.#line.push(waiting)
      gone.addEventListener('abort', goAway, { once: true })
    })
  }

  /** Hands the place on, or frees it. */
  #leave(): void {
    const last = this.#line.pop()
    if (last === undefined) this.#inside -= 1
    else last.enter()
  }
}
