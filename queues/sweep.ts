import type { Logger } from 'pino'
import type { Actor } from '../contracts/actor.js'
import type { Ledger } from '../ledger/ledger.js'
import { observe } from '../ledger/observe.js'
import { agentsWithEntries, expectedEntries, republish, unwantedEntries } from '../ledger/queue-parity.js'
import type { BusQueue } from './backend.js'
import { entryId, isLive, LIVE, parseEntryId, queueNameOf } from './catalogue.js'
import type { QueueRegistry } from './queue-registry.js'

export interface SweepOptions {
  readonly ledger: Ledger
  readonly queues: QueueRegistry
  readonly log: Logger
  readonly actor: Actor
}

const PAGE = 1_000
/** A job that changed this recently may be on its way between the two sides. */
const QUIET_MS = 3_000
const NIL = '00000000-0000-0000-0000-000000000000'

/** Entries that nobody holds, so that they can be taken out. */
const IDLE = ['waiting', 'prioritized', 'delayed'] as const

/**
 * Compares the two sides agent by agent and mends differences, each with a row. The queue is read first: an entry
 * that moves on meanwhile then only looks present, never missing. An agent that has nothing on either side is not looked at.
 */
export class Sweep {
  readonly #options: SweepOptions

  constructor(options: SweepOptions) {
    this.#options = options
  }

  /** @returns how many differences were mended */
  async run(): Promise<number> {
    let mended = 0
    const { ledger, queues } = this.#options
    const agents = await ledger.listAgents()
    const survey = await queues.backend.survey(agents.map(({ id }) => queueNameOf(id)))
    const expecting = await agentsWithEntries(ledger.db)
    for (const { id } of agents) {
      const filled = survey.get(queueNameOf(id))?.filled === true
      if (filled) mended += await this.#dropUnwanted(await queues.get(id), id)
      if (expecting.has(id)) mended += await this.#addMissing(await queues.get(id), id)
    }
    if (mended > 0) this.#options.log.info({ event: 'sweep.mended', mended }, 'ledger and queues differed')
    return mended
  }

  async #addMissing(queue: BusQueue, agentId: string): Promise<number> {
    let mended = 0
    let after = NIL
    let live: { readonly ids: ReadonlySet<string>; readonly atMs: number } | undefined
    for (;;) {
      const page = await expectedEntries(this.#options.ledger.db, { agentId, after, limit: PAGE, quietMs: QUIET_MS })
      if (page.length === 0) return mended
      // One look at the queue is good for the pages of half the quiet time: with a long backlog, one for each would read the whole queue each time.
      if (live === undefined || performance.now() - live.atMs >= QUIET_MS / 2) live = { atMs: performance.now(), ids: new Set(await idsOf(queue, LIVE)) }
      for (const entry of page) {
        const id = entryId(entry.jobId, entry.generation)
        // It may have been published since that look.
        if (live.ids.has(id) || isLive(await queue.getJobState(id))) continue
        const done = await republish(this.#options.ledger.db, entry, {
          actor: this.#options.actor,
          code: 'entry_missing',
          detail: 'The queue had no entry for this job; it was published again.',
        })
        if (done) {
          mended += 1
          this.#options.ledger.hints.give({ outbox: true })
        }
      }
      after = page.at(-1)?.jobId ?? after
      if (page.length < PAGE) return mended
    }
  }

  async #dropUnwanted(queue: BusQueue, agentId: string): Promise<number> {
    const ids = await idsOf(queue, IDLE)
    let mended = 0
    const foreign = ids.filter((id) => parseEntryId(id) === undefined && !id.startsWith('repeat:'))
    for (const id of foreign) mended += await this.#drop(queue, agentId, id, undefined, 'foreign_entry')
    const own = ids.flatMap((id) => {
      const parsed = parseEntryId(id)
      return parsed === undefined ? [] : [parsed]
    })
    for (let at = 0; at < own.length; at += PAGE) {
      const unwanted = await unwantedEntries(this.#options.ledger.db, own.slice(at, at + PAGE))
      for (const entry of unwanted) mended += await this.#drop(queue, agentId, entryId(entry.jobId, entry.generation), entry.jobId, entry.why)
    }
    return mended
  }

  async #drop(queue: BusQueue, agentId: string, id: string, jobId: string | undefined, why: string): Promise<number> {
    const removed = await queue.remove(id).catch(() => 0)
    if (removed === 0) return 0
    await observe(this.#options.ledger.db, {
      kind: 'mend',
      code: why === 'foreign_entry' ? 'foreign_entry_removed' : 'stale_entry_removed',
      actor: this.#options.actor,
      jobId,
      agentId,
      detail: `Queue entry ${id.slice(0, 100)} was removed: ${why}.`,
    })
    return 1
  }
}

async function idsOf(queue: BusQueue, types: readonly (typeof LIVE)[number][]): Promise<string[]> {
  return queue.getRanges([...types], 0, -1)
}
