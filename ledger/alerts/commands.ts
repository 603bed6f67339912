import { sql } from 'drizzle-orm'
import { SYSTEM_ACTOR } from '../../contracts/actor.js'
import {
  type AcknowledgeAlertBody,
  type AlertDeliveryView,
  type AlertId,
  type AlertRule,
  type AlertRuleName,
  type AlertView,
  type LiftSilenceBody,
  type SilenceAlertBody,
  type SilenceId,
  type SilenceView,
} from '../../contracts/alerts.js'
import { AgentbusError, type ErrorCode } from '../../contracts/errors.js'
import { uuidv7 } from '../../contracts/ids.js'
import { asCaller, type CallerDeps, type CallerRun } from '../as-caller.js'
import type { Caller, CommandContext } from '../caller.js'
import type { Db, Tx } from '../database.js'
import { whichHold } from '../is-found.js'
import { readPolicy } from '../policies.js'
import { instantOf } from '../presence.js'
import { claimPosts, deliveriesDue, recordTry, tellAgent, type DuePost, type PostsWanted, type Tried } from './deliveries.js'
import { evaluateAlerts, type Evaluated } from './evaluate.js'
import { logMove, owe } from './notices.js'
import { deliveriesWhere, getAlert } from './queries.js'
import { silenceView, type AlertRow, type DeliveryRow, type SilenceRow } from './rows.js'

export interface AlertDeps extends CallerDeps {
  readonly readByIndex: <T>(work: (db: Db) => Promise<T>) => Promise<T>
  /** @throws AGENTBUS_FORBIDDEN, with a row */
  readonly operatorOnly: (caller: Caller) => Promise<void>
}

const LEAVES_A_ROW: ReadonlySet<ErrorCode> = new Set(['AGENTBUS_FORBIDDEN', 'AGENTBUS_UNAUTHORIZED'])
const LONGEST_SILENCE_MS = 366 * 86_400_000

/** What operators do about alerts, and what workers do for them. */
export class AlertCommands {
  readonly #deps: AlertDeps

  constructor(deps: AlertDeps) {
    this.#deps = deps
  }

  /** Somebody has seen it: no more reminders. Its end is told still. @throws AGENTBUS_ALERT_NOT_FOUND, AGENTBUS_ALERT_OVER */
  async acknowledge(context: CommandContext, id: AlertId, body: AcknowledgeAlertBody): Promise<{ alert: AlertView; replayed?: boolean }> {
    return this.#command(context, async (tx, by) => {
      const { rows } = await tx.execute(sql`select * from alerts where id = ${id}::uuid for no key update`)
      const alert = rows[0] as unknown as AlertRow | undefined
      if (alert === undefined) throw new AgentbusError('AGENTBUS_ALERT_NOT_FOUND', `No alert has the id ${id}.`, { alert_id: id })
      if (alert.status !== 'open' || alert.acknowledged_at !== null) {
        const stands = alert.status === 'open' ? `was acknowledged by ${alert.acknowledged_by ?? ''}` : 'is over'
        throw new AgentbusError('AGENTBUS_ALERT_OVER', `Alert ${id} ${stands}.`, { alert_id: id, status: alert.status })
      }
      const updated = await tx.execute(sql`
        update alerts set acknowledged_at = ${instantOf(by.nowMs)}::timestamptz, acknowledged_by = ${`${by.actor.kind}:${by.actor.id}`}, note = ${body.reason}, tell_at = null,
          last_seq = last_seq + 1
        where id = ${id}::uuid returning *`)
      await logMove(tx, updated.rows[0] as unknown as AlertRow, 'acknowledged', by, { note: body.reason })
      return { alert: await getAlert(tx, id) }
    })
  }

  /** Nobody is told of the rule, or of one subject of it, until a time. @throws AGENTBUS_ALERT_NOT_FOUND, AGENTBUS_BAD_REQUEST */
  async silence(context: CommandContext, rule: AlertRuleName, body: SilenceAlertBody): Promise<{ silence: SilenceView; replayed?: boolean }> {
    return this.#command(context, async (tx, by) => {
      await ruleNamed(tx, rule)
      const untilMs = Date.parse(body.until)
      if (untilMs <= by.nowMs || untilMs > by.nowMs + LONGEST_SILENCE_MS)
        throw new AgentbusError('AGENTBUS_BAD_REQUEST', '`until` must lie ahead, at most a year.', { field: 'until' })
      const { rows } = await tx.execute(sql`
        insert into alert_silences (id, rule, subject, until, reason, created_by, created_at)
        values (${uuidv7(by.nowMs)}::uuid, ${rule}, ${body.subject ?? null}, ${instantOf(untilMs)}::timestamptz, ${body.reason}, ${`${by.actor.kind}:${by.actor.id}`},
          ${instantOf(by.nowMs)}::timestamptz)
        returning *`)
      return { silence: silenceView(rows[0] as unknown as SilenceRow) }
    })
  }

  /** Ends a silence before its time. @throws AGENTBUS_ALERT_NOT_FOUND */
  async lift(context: CommandContext, id: SilenceId, body: LiftSilenceBody): Promise<{ silence: SilenceView; replayed?: boolean }> {
    return this.#command(context, async (tx, by) => {
      const { rows } = await tx.execute(sql`
        update alert_silences set lifted_at = ${instantOf(by.nowMs)}::timestamptz, lifted_by = ${`${by.actor.kind}:${by.actor.id}`}, lift_reason = ${body.reason}
        where id = ${id}::uuid and lifted_at is null and until > ${instantOf(by.nowMs)}::timestamptz returning *`)
      const row = rows[0] as unknown as SilenceRow | undefined
      if (row === undefined) throw new AgentbusError('AGENTBUS_ALERT_NOT_FOUND', `No silence with the id ${id} holds.`, { silence_id: id })
      return { silence: silenceView(row) }
    })
  }

  /** Tells every receiver of a rule that this is a test, by the way that an alert would take. @throws AGENTBUS_ALERT_NOT_FOUND */
  async test(context: CommandContext, name: AlertRuleName): Promise<{ items: AlertDeliveryView[]; replayed?: boolean }> {
    return this.#command(context, async (tx, by) => {
      const rule = await ruleNamed(tx, name)
      const body = { notice: 'test', rule: rule.name, figure: rule.figure, level: rule.level, threshold: rule.above, asked_by: `${by.actor.kind}:${by.actor.id}` }
      const ids = await owe(tx, rule, { alert: undefined, notice: 'test', body }, by.nowMs)
      return { items: await deliveriesWhere(tx, sql`d.id = any(${sql.param(ids)}::uuid[])`) }
    })
  }

  async #command<T extends Record<string, unknown>>(context: CommandContext, work: (tx: Tx, by: CallerRun) => Promise<T>): Promise<T & { replayed?: boolean }> {
    await this.#deps.operatorOnly(context.caller)
    return asCaller(this.#deps, context, LEAVES_A_ROW, work)
  }

  /** One look at all rules. */
  evaluate(): Promise<Evaluated> {
    return this.#deps.run((tx) => evaluateAlerts(tx, { actor: SYSTEM_ACTOR, nowMs: this.#deps.nowMs() }))
  }

  /** Whether anybody is to be told now. */
  async anyDue(): Promise<boolean> {
    return (await this.#deps.readByIndex((db) => whichHold(db, { due: deliveriesDue(this.#deps.nowMs()) }))).has('due')
  }

  /** Posts that this process is to make now; each is its alone for `claimSeconds`. */
  claimPosts(request: PostsWanted): Promise<DuePost[]> {
    return this.#deps.run((tx) => claimPosts(tx, { ...request, nowMs: this.#deps.nowMs() }))
  }

  recordTry(delivery: Pick<DeliveryRow, 'id' | 'tries'>, tried: Tried): Promise<DeliveryRow['status'] | undefined> {
    return this.#deps.run((tx) => recordTry(tx, delivery, tried, this.#deps.nowMs()))
  }

  /** Tells one agent that is due. @returns undefined when nobody is */
  tellAgent(worker: string): ReturnType<typeof tellAgent> {
    return this.#deps.run((tx) => tellAgent(tx, { nowMs: this.#deps.nowMs(), worker }))
  }
}

async function ruleNamed(tx: Tx, name: AlertRuleName): Promise<AlertRule> {
  const { config } = await readPolicy(tx, 'alerts')
  const rule = config.rules.find((one) => one.name === name)
  if (rule === undefined) throw new AgentbusError('AGENTBUS_ALERT_NOT_FOUND', `The fleet file has no alert rule ${name}.`, { rule: name })
  return rule
}
