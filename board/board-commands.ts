import type { CommandContext } from '../ledger/caller.js'
import type { Ledger } from '../ledger/ledger.js'
import { observe } from '../ledger/observe.js'
import { AgentbusError } from '../contracts/errors.js'
import type { JobId } from '../contracts/ids.js'
import { isTerminal } from '../contracts/job-states.js'
import type { BusQueue } from '../queues/backend.js'
import { agentOfQueue, parseEntryId } from '../queues/catalogue.js'
import type { QueueRegistry } from '../queues/queue-registry.js'

/** What a person asked of the board. */
export type BoardAction =
  | { readonly kind: 'retry' | 'promote' | 'remove'; readonly queue: string; readonly entry: string }
  | { readonly kind: 'retry_all' | 'promote_all' | 'pause' | 'resume'; readonly queue: string }
  | { readonly kind: 'clean'; readonly queue: string; readonly status: string }
  | { readonly kind: 'pause_everything' | 'resume_everything' }

const ONE = /^\/api\/queues\/([^/]+)\/([^/]+)\/(retry|promote|clean)(?:\/[a-z-]+)?\/?$/
const BULK = /^\/api\/queues\/([^/]+)\/(?:(promote|pause|resume)|(retry|clean)\/([a-z-]+))\/?$/
const ALL = /^\/api\/queues\/(pause|resume)\/?$/

/** Reads a changing request of Bull Board; undefined for one that the board may not make. @throws AGENTBUS_BAD_REQUEST for a path that no name can come from */
export function parseBoardAction(method: string, path: string): BoardAction | undefined {
  if (method !== 'PUT') return undefined
  const all = ALL.exec(path)
  if (all !== null) return { kind: all[1] === 'pause' ? 'pause_everything' : 'resume_everything' }
  const bulk = BULK.exec(path)
  if (bulk?.[1] !== undefined) {
    const queue = decoded(bulk[1])
    if (bulk[2] === 'pause' || bulk[2] === 'resume') return { kind: bulk[2], queue }
    if (bulk[2] === 'promote') return { kind: 'promote_all', queue }
    if (bulk[3] === 'retry' && bulk[4] === 'failed') return { kind: 'retry_all', queue }
    if (bulk[3] === 'clean' && (bulk[4] === 'completed' || bulk[4] === 'failed')) return { kind: 'clean', queue, status: bulk[4] }
  }
  const one = ONE.exec(path)
  if (one?.[1] === undefined || one[2] === undefined) return undefined
  const kind = one[3] === 'clean' ? 'remove' : one[3] === 'promote' ? 'promote' : 'retry'
  return { kind, queue: decoded(one[1]), entry: decoded(one[2]) }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'The path is not correctly percent-encoded.')
  }
}

/** What Bull Board's page tells the person of a retry of all entries. */
export interface RetryCount {
  readonly retried: number
  /** Those that the ledger refused. */
  readonly skipped: number
}

/** How many entries one click removes; more than a queue keeps (`deliveryOptions`). */
const CLEAN_LIMIT = 10_000

/** Carries out what a person did at the board: the ledger first, attributed to `board`; the queue follows it. */
export class BoardCommands {
  readonly #ledger: Ledger
  readonly #queues: QueueRegistry

  constructor(options: { readonly ledger: Ledger; readonly queues: QueueRegistry }) {
    this.#ledger = options.ledger
    this.#queues = options.queues
  }

  /** @throws AgentbusError when the ledger refuses; the queue is then unchanged */
  async run(action: BoardAction, person: string): Promise<RetryCount | undefined> {
    const context: CommandContext = { caller: { role: 'internal', actor: { kind: 'board', id: person } } }
    switch (action.kind) {
      case 'pause_everything':
      case 'resume_everything':
        await this.#ledger.setPaused(context, { scope: 'everything', target: '', reason: 'at the board', paused: action.kind === 'pause_everything' })
        return
      case 'pause':
      case 'resume':
        await this.#ledger.setPaused(context, { scope: 'agent', target: agentIdOf(action.queue), reason: 'at the board', paused: action.kind === 'pause' })
        return
      case 'clean':
        await this.#clean(context, action)
        return
      case 'retry_all': {
        const { done, refused } = await this.#each(action.queue, 'failed', (entry) => this.#one('retry', action.queue, entry, context))
        return { retried: done, skipped: refused }
      }
      case 'promote_all':
        await this.#each(action.queue, 'delayed', (entry) => this.#one('promote', action.queue, entry, context))
        return
      default:
        await this.#one(action.kind, action.queue, action.entry, context)
        return
    }
  }

  /** @throws AgentbusError; a refusal has its row */
  async #one(kind: 'retry' | 'promote' | 'remove', queueName: string, entryId: string, context: CommandContext): Promise<void> {
    const jobId = parseEntryId(entryId)?.jobId as JobId | undefined
    try {
      if (jobId === undefined) throw new AgentbusError('AGENTBUS_BOARD_REFUSED', 'That entry was not made by agentbus.')
      await this.#command(kind, await this.#queueOf(queueName), { entryId, jobId }, context)
    } catch (error) {
      if (isRefusal(error)) await this.#ledger.recordRefusal(context.caller, error, { ...(jobId === undefined ? {} : { jobId }) })
      throw error
    }
  }

  async #command(kind: 'retry' | 'promote' | 'remove', queue: BusQueue, of: { readonly entryId: string; readonly jobId: JobId }, context: CommandContext): Promise<void> {
    const { entryId, jobId } = of
    if (kind === 'promote') {
      await this.#ledger.jobs.promote(context, jobId, 'promoted at the board')
      return
    }
    const job = await this.#ledger.getJob(jobId)
    // Entries that are over stay for days. One from before the job was queued again says nothing of what the job does now.
    const isOld = parseEntryId(entryId)?.generation !== job.generation
    if (kind === 'retry') {
      if (isOld && !isTerminal(job.status)) {
        throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `Job ${jobId} was queued again after that entry, and is ${job.status}.`, { job_id: jobId })
      }
      await this.#ledger.jobs.retry(context, jobId, { reason: 'retried at the board', extra_attempts: 1 })
      await queue.remove(entryId).catch(() => 0)
      return
    }
    if (isOld || isTerminal(job.status) || job.status === 'blocked') await this.#forget(queue, entryId, agentIdOf(queue.name), context)
    else await this.#ledger.jobs.cancel(context, jobId, 'removed at the board')
  }

  /** Only of agents that exist: a name from a URL opens no queue. */
  async #queueOf(queueName: string): Promise<BusQueue> {
    const agentId = agentIdOf(queueName)
    if ((await this.#ledger.listAgents(agentId)).length === 0) throw new AgentbusError('AGENTBUS_NOT_FOUND', 'No agent has that queue.')
    return this.#queues.get(agentId)
  }

  /** Only the queue's own memory goes: of a job that is over, or of an entry that its job has left behind. */
  async #forget(queue: BusQueue, entryId: string, agentId: string, context: CommandContext): Promise<void> {
    await queue.remove(entryId)
    await this.#record(context, 'entry_removed', `Queue entry ${entryId} was removed; its job stays as it is.`, agentId, parseEntryId(entryId)?.jobId)
  }

  async #clean(context: CommandContext, action: { readonly queue: string; readonly status: string }): Promise<void> {
    const queue = await this.#queueOf(action.queue)
    const agentId = agentIdOf(action.queue)
    const removed = await queue.clean(0, CLEAN_LIMIT, action.status === 'failed' ? 'failed' : 'completed')
    await this.#record(context, 'entries_cleaned', `${removed.length} ${action.status} queue entries were removed; their jobs stay as they are.`, agentId)
  }

  /** One that has moved on in the meantime does not stop the others; a ledger that is away does. */
  async #each(queueName: string, state: 'failed' | 'delayed', work: (entryId: string) => Promise<void>): Promise<{ done: number; refused: number }> {
    const queue = await this.#queueOf(queueName)
    const count = { done: 0, refused: 0 }
    // Read whole before the first change: what is retried or promoted leaves the range, and the next page would skip some.
    for (const id of await queue.getRanges([state], 0, -1)) {
      try {
        await work(id)
        count.done += 1
      } catch (error) {
        if (!isRefusal(error)) throw error
        count.refused += 1
      }
    }
    return count
  }

  async #record(context: CommandContext, code: string, detail: string, agentId: string, jobId?: string): Promise<void> {
    if (context.caller.role !== 'internal') return
    await observe(this.#ledger.db, { kind: 'outside_change', code, actor: context.caller.actor, detail, agentId, jobId })
  }

  /** The row of something the board may not do. */
  async refuse(what: string, person: string): Promise<AgentbusError> {
    const error = new AgentbusError('AGENTBUS_BOARD_REFUSED', `The board may not do that: ${what}.`)
    await this.#ledger.recordRefusal({ role: 'internal', actor: { kind: 'board', id: person } }, error, {})
    return error
  }
}

function agentIdOf(queueName: string): string {
  const agentId = agentOfQueue(queueName)
  if (agentId === undefined) throw new AgentbusError('AGENTBUS_BOARD_REFUSED', 'That queue does not belong to an agent.')
  return agentId
}

/** The command itself was refused; anything else says that a store is away or broken. */
function isRefusal(error: unknown): error is AgentbusError {
  return error instanceof AgentbusError && error.status < 500
}
