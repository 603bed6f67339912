import { sql } from 'drizzle-orm'
import type { AlertRule, AlertsConfig } from '../../contracts/alerts.js'
import { uuidv7 } from '../../contracts/ids.js'
import { ADVISORY } from '../advisory-locks.js'
import type { Tx } from '../database.js'
import { emitEvent } from '../emit-event.js'
import { readPolicy } from '../policies.js'
import { instantOf } from '../presence.js'
import { readFigure } from './figures.js'
import { logMove, noticeOf, owe, receiversOf, type By } from './notices.js'
import type { AlertRow } from './rows.js'

/** One look at a time over all processes; a second one has nothing to do. */

export interface Evaluated {
  readonly opened: number
  readonly told: number
  readonly resolved: number
}

const NOTHING: Evaluated = { opened: 0, told: 0, resolved: 0 }

interface Known {
  /** Since when a figure has been above, by rule and subject. */
  readonly watches: Map<string, string>
  readonly open: Map<string, AlertRow>
}

const keyOf = (rule: string, subject: string): string => `${rule} ${subject}`

/**
 * Holds every rule of the fleet file against its figure: begins and ends alerts, and writes down who is to be told, all in
 * this transaction. No process remembers anything between two looks; of two processes that look at once, one does nothing.
 */
export async function evaluateAlerts(tx: Tx, by: By): Promise<Evaluated> {
  const { rows } = await tx.execute<{ got: boolean }>(sql`select pg_try_advisory_xact_lock(${ADVISORY.alerts}) as got`)
  if (rows[0]?.got !== true) return NOTHING
  const { config } = await readPolicy(tx, 'alerts')
  const known = await readKnown(tx)
  if (config.rules.length === 0 && known.open.size === 0 && known.watches.size === 0) return NOTHING
  const count = { opened: 0, told: 0, resolved: 0 }
  for (const rule of config.rules) {
    const figures = await readFigure(tx, rule, by.nowMs)
    for (const subject of subjectsOf(rule, figures, known)) {
      const value = figures.get(subject) ?? 0
      const alert = known.open.get(keyOf(rule.name, subject))
      if (alert === undefined) count.opened += await watch(tx, rule, subject, { value, since: known.watches.get(keyOf(rule.name, subject)) }, by)
      else count.resolved += await follow(tx, rule, alert, value, by)
    }
  }
  count.resolved += await dropRemoved(tx, config, known, by)
  if (known.open.size > 0) await keepReminders(tx, config)
  count.told = await tellDue(tx, config, by)
  return count
}

async function readKnown(tx: Tx): Promise<Known> {
  const watches = await tx.execute<{ rule: string; subject: string; since: string }>(sql`select rule, subject, since from alert_watches`)
  const open = await tx.execute(sql`select * from alerts where status = 'open' order by id for no key update`)
  return {
    watches: new Map(watches.rows.map((row) => [keyOf(row.rule, row.subject), row.since])),
    open: new Map((open.rows as unknown as AlertRow[]).map((row) => [keyOf(row.rule, row.subject), row])),
  }
}

/** Whoever has a figure, a watch or an open alert: one whose figure is 0 again has only the latter. */
function subjectsOf(rule: AlertRule, figures: Map<string, number>, known: Known): Set<string> {
  const subjects = new Set(figures.keys())
  const mine = `${rule.name} `
  for (const key of [...known.watches.keys(), ...known.open.keys()]) if (key.startsWith(mine)) subjects.add(key.slice(mine.length))
  return subjects
}

/** A figure without an alert: it becomes one when it has been above for long enough. @returns how many alerts began */
async function watch(tx: Tx, rule: AlertRule, subject: string, figure: { readonly value: number; readonly since: string | undefined }, by: By): Promise<number> {
  if (figure.value <= rule.above) {
    if (figure.since !== undefined) await unwatch(tx, rule.name, subject)
    return 0
  }
  const sinceMs = figure.since === undefined ? by.nowMs : Date.parse(figure.since)
  if (by.nowMs - sinceMs >= rule.for_seconds * 1_000) {
    if (figure.since !== undefined) await unwatch(tx, rule.name, subject)
    await open(tx, rule, { subject, value: figure.value, sinceMs }, by)
    return 1
  }
  if (figure.since === undefined) await tx.execute(sql`insert into alert_watches (rule, subject, since) values (${rule.name}, ${subject}, ${instantOf(by.nowMs)}::timestamptz)`)
  return 0
}

async function unwatch(tx: Tx, rule: string, subject: string): Promise<void> {
  await tx.execute(sql`delete from alert_watches where rule = ${rule} and subject = ${subject}`)
}

async function open(tx: Tx, rule: AlertRule, what: { readonly subject: string; readonly value: number; readonly sinceMs: number }, by: By): Promise<void> {
  const now = sql`${instantOf(by.nowMs)}::timestamptz`
  const { rows } = await tx.execute(sql`
    insert into alerts (id, rule, figure, subject, level, value, peak, threshold, since, opened_at, tell_at)
    values (${uuidv7(by.nowMs)}::uuid, ${rule.name}, ${rule.figure}, ${what.subject}, ${rule.level}::alert_level, ${what.value}, ${what.value}, ${rule.above},
      ${instantOf(what.sinceMs)}::timestamptz, ${now}, ${now})
    returning *`)
  const alert = rows[0] as unknown as AlertRow
  await logMove(tx, alert, 'opened', by, { details: { value: alert.value, threshold: alert.threshold } })
  await emitEvent(tx, { namespace: 'default', topic: 'alerts.opened', payload: noticeOf(alert, 'opened') }, by)
}

/** An open alert: it is over when its figure has been down for long enough. @returns how many alerts ended */
async function follow(tx: Tx, rule: AlertRule, alert: AlertRow, value: number, by: By): Promise<number> {
  const down = value <= (rule.clear_at ?? rule.above)
  const clearMs = !down ? undefined : alert.clear_since === null ? by.nowMs : Date.parse(alert.clear_since)
  if (clearMs !== undefined && by.nowMs - clearMs >= rule.clear_for_seconds * 1_000) {
    await resolve(tx, { ...alert, value }, 'cleared', by)
    return 1
  }
  const clearSince = clearMs === undefined ? null : instantOf(clearMs)
  if (value !== alert.value || (clearSince === null) !== (alert.clear_since === null)) {
    await tx.execute(sql`
      update alerts set value = ${value}, peak = greatest(peak, ${value}), clear_since = ${clearSince}::timestamptz where id = ${alert.id}::uuid`)
  }
  return 0
}

async function resolve(tx: Tx, alert: AlertRow, as: 'cleared' | 'rule_removed', by: By): Promise<void> {
  const { rows } = await tx.execute(sql`
    update alerts set status = 'resolved', value = ${alert.value}, peak = greatest(peak, ${alert.value}), resolved_at = ${instantOf(by.nowMs)}::timestamptz, resolved_as = ${as},
      tell_at = null, last_seq = last_seq + 1
    where id = ${alert.id}::uuid returning *`)
  const resolved = rows[0] as unknown as AlertRow
  await logMove(tx, resolved, 'resolved', by, { details: { value: resolved.value, as } })
  // Whoever never heard of it need not hear that it is over; whoever did must, even in a silence.
  if (resolved.told > 0)
    await owe(
      tx,
      { name: resolved.rule as AlertRule['name'], notify: await receiversOf(tx, resolved) },
      { alert: resolved, notice: 'resolved', body: noticeOf(resolved, 'resolved') },
      by.nowMs,
    )
  await emitEvent(tx, { namespace: 'default', topic: 'alerts.resolved', payload: noticeOf(resolved, 'resolved') }, by)
}

/** What belongs to rules that the fleet file no longer has. @returns how many alerts ended */
async function dropRemoved(tx: Tx, config: AlertsConfig, known: Known, by: By): Promise<number> {
  const names = new Set<string>(config.rules.map((rule) => rule.name))
  const removed = [...known.open.values()].filter((alert) => !names.has(alert.rule))
  for (const alert of removed) await resolve(tx, alert, 'rule_removed', by)
  await tx.execute(sql`delete from alert_watches where not (rule = any(${sql.param([...names])}::text[]))`)
  return removed.length
}

/**
 * The fleet file may remind more or less often than when an alert was told: its next reminder is due so long after the last
 * time as the rule says now, or never. Of what stands as it should nothing is written.
 */
async function keepReminders(tx: Tx, config: AlertsConfig): Promise<void> {
  const rules = config.rules.map(({ name, remind_seconds }) => ({ name, remind_seconds }))
  await tx.execute(sql`
    update alerts a set tell_at = due.at
    from (
      select o.id, case when r.remind_seconds > 0 then t.at + make_interval(secs => r.remind_seconds) end as at
      from jsonb_to_recordset(${JSON.stringify(rules)}::jsonb) as r (name text, remind_seconds int) join alerts o on o.rule = r.name
        cross join lateral (select h.at from alert_history h where h.alert_id = o.id and h.move = 'told' order by h.seq desc limit 1) t
      where o.status = 'open' and o.acknowledged_at is null and o.told > 0
    ) due
    where a.id = due.id and a.tell_at is distinct from due.at`)
}

/** Writes down who is to be told now: of what began, and again of what lasts. A silence holds it back until it ends. */
async function tellDue(tx: Tx, config: AlertsConfig, by: By): Promise<number> {
  const now = sql`${instantOf(by.nowMs)}::timestamptz`
  const { rows } = await tx.execute(sql`
    select a.* from alerts a where a.status = 'open' and a.tell_at <= ${now} and not exists (
      select from alert_silences s where s.rule = a.rule and (s.subject is null or s.subject = a.subject) and s.until > ${now} and s.lifted_at is null)
    order by a.id`)
  let told = 0
  for (const alert of rows as unknown as AlertRow[]) {
    const rule = config.rules.find((one) => one.name === alert.rule)
    if (rule === undefined) continue
    const next = rule.remind_seconds === 0 ? null : instantOf(by.nowMs + rule.remind_seconds * 1_000)
    const updated = await tx.execute(sql`
      update alerts set tell_at = ${next}::timestamptz, told = told + 1, last_seq = last_seq + 1 where id = ${alert.id}::uuid returning *`)
    const after = updated.rows[0] as unknown as AlertRow
    const notice = alert.told === 0 ? 'opened' : 'reminder'
    const deliveries = await owe(tx, rule, { alert: after, notice, body: noticeOf(after, notice) }, by.nowMs)
    await logMove(tx, after, 'told', by, { details: { notice, deliveries } })
    told += 1
  }
  return told
}
