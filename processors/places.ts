/** A queue entry in hand: it takes one of its agent's places, and a slot as soon as it has a lease. */
export interface Place {
  slot: number | undefined
}

interface OfAgent {
  readonly taken: Set<Place>
  /** When the last entry left, by `performance.now()`. */
  leftMs: number
}

/** The places that entries in hand take in this process, by agent. */
export class Places {
  readonly #agents = new Map<string, OfAgent>()

  enter(agentId: string): Place {
    const place: Place = { slot: undefined }
    const agent = this.#agents.get(agentId) ?? { taken: new Set(), leftMs: Number.NEGATIVE_INFINITY }
    agent.taken.add(place)
    this.#agents.set(agentId, agent)
    return place
  }

  leave(agentId: string, place: Place): void {
    const agent = this.#agents.get(agentId)
    if (agent?.taken.delete(place) === true) agent.leftMs = performance.now()
  }

  inHand(agentId: string): number {
    return this.#agents.get(agentId)?.taken.size ?? 0
  }

  /** Milliseconds since an entry of the agent left. */
  restedMs(agentId: string): number {
    return performance.now() - (this.#agents.get(agentId)?.leftMs ?? Number.NEGATIVE_INFINITY)
  }

  /** The slots of the attempts that are attended to here. */
  slots(agentId: string): number[] {
    return [...(this.#agents.get(agentId)?.taken ?? [])].flatMap(({ slot }) => (slot === undefined ? [] : [slot]))
  }
}
