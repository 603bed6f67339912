/** A queue entry in hand: it takes one of its agent's places, and a slot as soon as it has a lease. */
export interface Place {
  slot: number | undefined
}

interface OfAgent {
  readonly taken: Set<Place>
  /** When entries left lately, by `performance.now()`, oldest first. */
  left: number[]
  /** When the agent's entries could be taken again after a time in which they could not. */
  openedMs: number
}

/**
 * Milliseconds for which a place counts as taken after its entry has left. While entries wait a place is free for a moment only, until the
 * next of them is there.
 */
const RESTED_MS = 25
/** Milliseconds after a gate has opened in which what has gathered before it is fetched. */
const OPENED_MS = 1_000

/** The places that entries in hand take in this process, by agent. */
export class Places {
  readonly #agents = new Map<string, OfAgent>()

  #of(agentId: string): OfAgent {
    const known = this.#agents.get(agentId) ?? { taken: new Set(), left: [], openedMs: Number.NEGATIVE_INFINITY }
    this.#agents.set(agentId, known)
    return known
  }

  enter(agentId: string): Place {
    const place: Place = { slot: undefined }
    this.#of(agentId).taken.add(place)
    return place
  }

  leave(agentId: string, place: Place): void {
    const agent = this.#of(agentId)
    if (!agent.taken.delete(place)) return
    agent.left = [...lately(agent.left), performance.now()]
  }

  /** The agent's entries are taken from now on: there may be many of them. */
  opened(agentId: string): void {
    this.#of(agentId).openedMs = performance.now()
  }

  /** How many of `most` places are free, with nothing waiting for them. */
  free(agentId: string, most: number): number {
    const agent = this.#agents.get(agentId)
    if (agent === undefined) return most
    if (performance.now() - agent.openedMs < OPENED_MS) return 0
    return most - agent.taken.size - lately(agent.left).length
  }

  /** The slots of the attempts that are attended to here. */
  slots(agentId: string): number[] {
    return [...(this.#agents.get(agentId)?.taken ?? [])].flatMap(({ slot }) => (slot === undefined ? [] : [slot]))
  }
}

function lately(left: readonly number[]): number[] {
  const sinceMs = performance.now() - RESTED_MS
  return left.filter((ms) => ms > sinceMs)
}
