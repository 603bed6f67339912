import type { InferSelectModel } from 'drizzle-orm'
import type { AlertDeliveryView, AlertId, AlertView, SilenceId, SilenceView } from '../../contracts/alerts.js'
import type { JobId } from '../../contracts/ids.js'
import { iso } from '../rows.js'
import type { alert_deliveries, alert_silences, alerts } from '../schema/index.js'

export type AlertRow = InferSelectModel<typeof alerts>
export type DeliveryRow = InferSelectModel<typeof alert_deliveries>
export type SilenceRow = InferSelectModel<typeof alert_silences>

const isoOrNull = (text: string | null): string | null => (text === null ? null : iso(text))

export function alertView(row: AlertRow & { readonly silenced_until: string | null }): AlertView {
  return {
    id: row.id as AlertId,
    rule: row.rule,
    figure: row.figure,
    subject: row.subject,
    level: row.level,
    status: row.status,
    value: row.value,
    peak: row.peak,
    threshold: row.threshold,
    since: iso(row.since),
    opened_at: iso(row.opened_at),
    resolved_at: isoOrNull(row.resolved_at),
    resolved_as: row.resolved_as,
    acknowledged_at: isoOrNull(row.acknowledged_at),
    acknowledged_by: row.acknowledged_by,
    note: row.note,
    silenced_until: isoOrNull(row.silenced_until),
    told: row.told,
    version: row.last_seq,
  }
}

export function deliveryView(row: DeliveryRow, attempts: AlertDeliveryView['attempts']): AlertDeliveryView {
  return {
    id: row.id,
    rule: row.rule,
    notice: row.notice,
    receiver_kind: row.receiver_kind,
    receiver: row.receiver,
    status: row.status,
    tries: row.tries,
    next_try_at: iso(row.next_try_at),
    created_at: iso(row.created_at),
    done_at: isoOrNull(row.done_at),
    job_id: row.job_id as JobId | null,
    attempts,
  }
}

export function silenceView(row: SilenceRow): SilenceView {
  return {
    id: row.id as SilenceId,
    rule: row.rule,
    subject: row.subject,
    until: iso(row.until),
    reason: row.reason,
    created_by: row.created_by,
    created_at: iso(row.created_at),
    lifted_at: isoOrNull(row.lifted_at),
    lifted_by: row.lifted_by,
    lift_reason: row.lift_reason,
  }
}
