import { AgentbusError, type ErrorCode } from '../contracts/errors.js'
import type { AcknowledgeBody, FiledView, FileFindingBody, FindingId, FindingView, InboxMessageView, ReadInboxBody, SettleFindingBody } from '../contracts/findings.js'
import type { AgentId } from '../contracts/ids.js'
import { asCaller, type CallerDeps, type CallerRun } from './as-caller.js'
import type { Caller, CommandContext } from './caller.js'
import type { Tx } from './database.js'
import { fileFinding } from './file-finding.js'
import { findingView, lockFinding } from './finding-rows.js'
import { acknowledge, readInbox } from './inbox.js'
import { settleAnswered } from './pending-results.js'
import { settleFinding } from './settle-finding.js'

/** The commands on findings and inboxes. An attempt may use them for its agent as long as it is open. */
export class InboxCommands {
  readonly #deps: CallerDeps

  constructor(deps: CallerDeps) {
    this.#deps = deps
  }

  /** Files a finding, always in the caller's own name. @throws AGENTBUS_LIMIT_REACHED, with a row */
  async file(context: CommandContext, body: FileFindingBody): Promise<FiledView & { created: boolean; replayed?: boolean }> {
    const { caller } = context
    const own = await this.#agentOf(caller, body.source_agent, 'file findings as')
    return this.#as(context, (tx, by) => fileFinding(tx, own === undefined ? body : { ...body, source_agent: own }, by), body)
  }

  /** Takes what is open in an inbox. @returns the messages, worst first; each is held by one reader at a time */
  async read(context: CommandContext, body: ReadInboxBody): Promise<{ items: InboxMessageView[]; replayed?: boolean }> {
    const agentId = await this.#inboxOf(context.caller, body.agent)
    // Apart from the reading, so that each transaction locks findings once, in one order.
    await this.#deps.run((tx) => settleAnswered(tx, { agentId, nowMs: this.#deps.nowMs() }))
    return this.#as(context, async (tx, by) => ({ items: await readInbox(tx, agentId, body, by) }))
  }

  /** Closes messages that the caller has read. @throws AGENTBUS_NOT_YOUR_MESSAGE */
  async acknowledge(context: CommandContext, body: AcknowledgeBody): Promise<{ items: InboxMessageView[]; replayed?: boolean }> {
    const own = await this.#agentOf(context.caller, undefined, 'read the inbox of')
    return this.#as(context, async (tx, by) => ({ items: await acknowledge(tx, own, body, by) }))
  }

  /** Ends a finding: the matter is over. For whoever filed it last, whoever's inbox it is in, and operators. */
  async settle(context: CommandContext, id: FindingId, body: SettleFindingBody): Promise<{ finding: FindingView; replayed?: boolean }> {
    const own = await this.#agentOf(context.caller, undefined, 'settle findings of')
    return this.#as(context, async (tx, by) => {
      const finding = await lockFinding(tx, id)
      if (own !== undefined && finding.source_agent !== own && finding.agent_id !== own) {
        throw new AgentbusError('AGENTBUS_FORBIDDEN', `The finding is neither from nor for agent ${own}.`, { finding_id: id })
      }
      return { finding: findingView(finding.status === 'settled' ? finding : await settleFinding(tx, finding, 'settled', by, body.note)) }
    })
  }

  #as<T extends Record<string, unknown>>(context: CommandContext, work: (tx: Tx, by: CallerRun) => Promise<T>, sent?: unknown): Promise<T & { replayed?: boolean }> {
    return asCaller(this.#deps, context, LEAVES_A_ROW, work, { sent })
  }

  /** The agent the caller speaks for; undefined for an operator, who speaks for anybody. */
  async #agentOf(caller: Caller, asked: AgentId | undefined, what: string): Promise<AgentId | undefined> {
    if (caller.role === 'operator' || caller.role === 'internal') return asked
    if (caller.role !== 'auditor' && (asked === undefined || asked === caller.agentId)) return caller.agentId
    const error = new AgentbusError(
      'AGENTBUS_FORBIDDEN',
      caller.role === 'auditor' ? 'An auditor may read, not write.' : `The token of agent ${caller.agentId} cannot ${what} another agent.`,
    )
    await this.#deps.refused(caller, error, {})
    throw error
  }

  async #inboxOf(caller: Caller, asked: AgentId | undefined): Promise<AgentId> {
    const agentId = await this.#agentOf(caller, asked, 'read the inbox of')
    if (agentId === undefined) throw new AgentbusError('AGENTBUS_BAD_REQUEST', 'An operator says whose inbox.', { field: 'agent' })
    return agentId
  }
}

const LEAVES_A_ROW: ReadonlySet<ErrorCode> = new Set(['AGENTBUS_UNAUTHORIZED', 'AGENTBUS_FORBIDDEN', 'AGENTBUS_NOT_YOUR_MESSAGE', 'AGENTBUS_LIMIT_REACHED'])
