import { sql } from 'drizzle-orm'
import type { Actor } from '../../contracts/actor.js'
import type { AlertNotice, AlertRule } from '../../contracts/alerts.js'
import { uuidv7 } from '../../contracts/ids.js'
import type { Tx } from '../database.js'
import { instantOf } from '../presence.js'
import type { AlertRow } from './rows.js'

/** Milliseconds since the epoch, and who does it. */
export interface By {
  readonly actor: Actor
  readonly nowMs: number
}

type Move = 'opened' | 'told' | 'acknowledged' | 'resolved'

/** Appends the row of the history that the alert's `last_seq` already counts. */
export async function logMove(tx: Tx, alert: AlertRow, move: Move, by: By, about: { readonly note?: string; readonly details?: Record<string, unknown> } = {}): Promise<void> {
  await tx.execute(sql`
    insert into alert_history (alert_id, seq, move, actor_kind, actor, note, details, at)
    values (${alert.id}::uuid, ${alert.last_seq}, ${move}::alert_move, ${by.actor.kind}::actor_kind, ${by.actor.id}, ${about.note ?? null},
      ${JSON.stringify(about.details ?? {})}::jsonb, ${instantOf(by.nowMs)}::timestamptz)`)
}

/** What a receiver is sent, webhook and agent alike; no secret and nothing that an agent or a gateway has said. */
export function noticeOf(alert: AlertRow, notice: AlertNotice): Record<string, unknown> {
  return {
    notice,
    alert_id: alert.id,
    rule: alert.rule,
    figure: alert.figure,
    subject: alert.subject,
    level: alert.level,
    status: alert.status,
    value: alert.value,
    peak: alert.peak,
    threshold: alert.threshold,
    since: instantOf(Date.parse(alert.since)),
    opened_at: instantOf(Date.parse(alert.opened_at)),
    resolved_at: alert.resolved_at === null ? null : instantOf(Date.parse(alert.resolved_at)),
    resolved_as: alert.resolved_as,
  }
}

/** Writes what each receiver of the rule is to be told. @returns the ids of the deliveries */
export async function owe(
  tx: Tx,
  rule: Pick<AlertRule, 'name' | 'notify'>,
  what: { readonly alert: AlertRow | undefined; readonly notice: AlertNotice; readonly body: object },
  nowMs: number,
): Promise<string[]> {
  const ids: string[] = []
  for (const { webhook, agent } of rule.notify) {
    const id = uuidv7(nowMs)
    const [kind, receiver] = webhook === undefined ? ['agent', agent] : ['webhook', webhook]
    await tx.execute(sql`
      insert into alert_deliveries (id, alert_id, seq, rule, notice, receiver_kind, receiver, body, next_try_at, created_at)
      values (${id}::uuid, ${what.alert?.id ?? null}::uuid, ${what.alert?.last_seq ?? null}::int, ${rule.name}, ${what.notice}::alert_notice, ${kind}::alert_receiver, ${receiver},
        ${JSON.stringify(what.body)}::jsonb, ${instantOf(nowMs)}::timestamptz, ${instantOf(nowMs)}::timestamptz)`)
    ids.push(id)
  }
  return ids
}

/** Who was told that it began: they are told that it is over, whatever the rule says by then. */
export async function receiversOf(tx: Tx, alert: AlertRow): Promise<AlertRule['notify']> {
  const { rows } = await tx.execute<{ receiver_kind: string; receiver: string }>(sql`
    select distinct receiver_kind, receiver from alert_deliveries where alert_id = ${alert.id}::uuid order by 1, 2`)
  return rows.map(({ receiver_kind, receiver }) => (receiver_kind === 'webhook' ? { webhook: receiver } : { agent: receiver })) as AlertRule['notify']
}
