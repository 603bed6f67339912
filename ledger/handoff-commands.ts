import type { ApprovalId, ApprovalView } from '../contracts/approvals.js'
import { sql } from 'drizzle-orm'
import { AgentbusError, type ErrorCode } from '../contracts/errors.js'
import type { FleetChange } from '../contracts/fleet.js'
import type { JobId } from '../contracts/ids.js'
import type { UnblockBody } from '../contracts/job-operations.js'
import type { JobView } from '../contracts/jobs.js'
import { SubscriptionConfig, type SubscriptionView } from '../contracts/subscriptions.js'
import { lockDefinitions } from './apply-fleet.js'
import { applySubscriptions, knownSubscriptions, subscriptionKey } from './apply-subscriptions.js'
import { asCaller, type CallerDeps } from './as-caller.js'
import { actorOf, agentOfCaller, type Caller, type CommandContext } from './caller.js'
import type { Tx } from './database.js'
import { decideApproval } from './decide-approval.js'
import { approvalView, listSubscriptions } from './handoff-queries.js'
import { onceOnly } from './idempotency.js'
import { requireRight } from './policies.js'
import { mustBeAgent, mustBeAtVersion } from './preconditions.js'
import { jobView } from './rows.js'
import { lockJob, move, type LockedJob } from './transition.js'

export interface HandoffCommandDeps extends CallerDeps {
  /** @throws AGENTBUS_FORBIDDEN, with a row */
  readonly operatorOnly: (caller: Caller) => Promise<void>
}

export interface SubscriptionChange {
  readonly change: FleetChange
  readonly subscription: SubscriptionView | null
}

/** Subscriptions, decisions, and answers for blocked work. */
export class HandoffCommands {
  readonly #deps: HandoffCommandDeps

  constructor(deps: HandoffCommandDeps) {
    this.#deps = deps
  }

  /** Brings one subscription to this definition, and leaves all others alone. @throws AGENTBUS_UNKNOWN_AGENT, AGENTBUS_VERSION_MISMATCH */
  async setSubscription(context: CommandContext, definition: SubscriptionConfig, { dryRun }: { readonly dryRun: boolean }): Promise<SubscriptionChange & { replayed?: boolean }> {
    await this.#deps.operatorOnly(context.caller)
    return this.#deps.run((tx) =>
      onceOnly(tx, context, async () => {
        await lockDefinitions(tx)
        await mustBeAgent(tx, definition.agent)
        mustBeAtVersion(`Subscription ${subscriptionKey(definition)}`, (await knownSubscriptions(tx)).get(subscriptionKey(definition))?.version, context.ifVersion)
        const by = { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() }
        const [change] = await applySubscriptions(tx, [definition], { ...by, dryRun, prune: false })
        if (change === undefined) throw new Error('applying one subscription is one change')
        return { change, subscription: await viewOf(tx, definition) }
      }),
    )
  }

  /** Disables a subscription; what it made stays explained. @throws AGENTBUS_SUBSCRIPTION_NOT_FOUND, AGENTBUS_VERSION_MISMATCH */
  async disableSubscription(context: CommandContext, key: { readonly namespace: string; readonly name: string }): Promise<SubscriptionChange & { replayed?: boolean }> {
    await this.#deps.operatorOnly(context.caller)
    return this.#deps.run((tx) =>
      onceOnly(tx, context, async () => {
        await lockDefinitions(tx)
        const known = (await knownSubscriptions(tx)).get(subscriptionKey(key))
        if (known === undefined) throw new AgentbusError('AGENTBUS_SUBSCRIPTION_NOT_FOUND', `No subscription has the name ${subscriptionKey(key)}.`)
        mustBeAtVersion(`Subscription ${subscriptionKey(key)}`, known.version, context.ifVersion)
        const by = { actor: actorOf(context.caller), nowMs: this.#deps.nowMs() }
        const [change] = await applySubscriptions(tx, [{ ...known.definition, enabled: false }], { ...by, dryRun: false, prune: false })
        if (change === undefined) throw new Error('applying one subscription is one change')
        return { change: change.change === 'changed' ? { ...change, change: 'disabled' as const } : change, subscription: await viewOf(tx, key) }
      }),
    )
  }

  /** Decides an approval: for operators, and agents to whom the fleet file gives the right. @throws AGENTBUS_APPROVAL_NOT_FOUND, AGENTBUS_APPROVAL_DECIDED */
  async decide(context: CommandContext, id: ApprovalId, to: 'approved' | 'rejected', note: string | undefined): Promise<{ approval: ApprovalView; replayed?: boolean }> {
    return asCaller(this.#deps, context, LEAVES_A_ROW, async (tx) => {
      await requireRight(tx, context.caller, 'approve', 'decide approvals')
      const approval = await decideApproval(tx, id, { to, note, actor: actorOf(context.caller), nowMs: this.#deps.nowMs(), decider: agentOfCaller(context.caller) })
      return { approval: approvalView(approval) }
    })
  }

  /**
   * Answers a blocked job: it is queued again and its next attempt is told. For operators, whoever it names as its owner,
   * whoever sent it, and agents to whom the fleet file gives the right. @throws AGENTBUS_ILLEGAL_TRANSITION
   */
  async unblock(context: CommandContext, id: JobId, body: UnblockBody): Promise<{ job: JobView; replayed?: boolean }> {
    const work = async (tx: Tx): Promise<{ job: JobView }> => {
      const job = await lockJob(tx, id)
      await mayAnswer(tx, context.caller, job)
      if (job.status !== 'blocked') {
        throw new AgentbusError('AGENTBUS_ILLEGAL_TRANSITION', `Job ${id} is ${job.status}, not blocked.`, { job_id: id, from: job.status, to: 'queued' })
      }
      const actor = actorOf(context.caller)
      const moved = await move(tx, job, {
        to: 'queued',
        reason: 'unblocked',
        actor,
        note: body.reason,
        set: { answer: { kind: 'person', by: `${actor.kind}:${actor.id}`, reason: body.reason, answer: body.answer }, run_after: sql`clock_timestamp()` },
        queue: 'publish',
      })
      return { job: jobView(moved) }
    }
    return asCaller(this.#deps, context, LEAVES_A_ROW, work, { about: { jobId: id } })
  }
}

const LEAVES_A_ROW: ReadonlySet<ErrorCode> = new Set(['AGENTBUS_FORBIDDEN', 'AGENTBUS_UNAUTHORIZED', 'AGENTBUS_APPROVAL_DECIDED', 'AGENTBUS_ILLEGAL_TRANSITION'])

/**
 * An agent does not answer itself, whomever it named as the owner; and no answer takes the place of a decision: a job that
 * waits for an approval is answered by those who may approve, if they have not asked for it themselves.
 */
async function mayAnswer(tx: Tx, caller: Caller, job: LockedJob): Promise<void> {
  const agent = agentOfCaller(caller)
  if (job.waits_for?.['kind'] === 'approval') {
    await requireRight(tx, caller, 'approve', `answer job ${job.id}, which waits for an approval`)
    if (agent === undefined || agent !== job.target_agent) return
    throw new AgentbusError('AGENTBUS_FORBIDDEN', `Job ${job.id} is ${agent}'s own and waits for an approval; somebody else must decide it.`, { job_id: job.id })
  }
  if (agent !== undefined && agent !== job.target_agent && (job.blocked_owner === agent || job.source_agent === agent)) return
  await requireRight(tx, caller, 'unblock', `answer job ${job.id}`)
}

async function viewOf(tx: Tx, { name, namespace }: { readonly namespace: string; readonly name: string }): Promise<SubscriptionView | null> {
  return (await listSubscriptions(tx, { name, namespace }))[0] ?? null
}
