import { sql, type SQL } from 'drizzle-orm'
import { SYSTEM_ACTOR, type Actor } from '../contracts/actor.js'
import type { ControlAction, ControlChangeKind, ControlScope, RunningPolicy } from '../contracts/controls.js'
import { AgentbusError, type ErrorCode } from '../contracts/errors.js'
import { LANES } from '../contracts/job-states.js'
import { ADVISORY } from './advisory-locks.js'
import type { Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import { observe } from './observe.js'
import { mustLieAhead } from './preconditions.js'

export interface ControlRow {
  readonly id: number
  readonly action: ControlAction
  readonly scope: ControlScope
  /** Empty for a scope that is one thing. */
  readonly target: string
  readonly reason: string
  readonly set_by_kind: Actor['kind']
  readonly set_by: string
  readonly set_at: string
  readonly until_at: string | null
  readonly running: RunningPolicy
  readonly drained_at: string | null
  readonly lifted_by_kind: Actor['kind'] | null
  readonly lifted_by: string | null
  readonly lifted_at: string | null
  readonly lifted_because: 'resumed' | 'expired' | 'replaced' | null
  readonly lift_reason: string | null
  readonly last_seq: number
}

export interface WantedControl {
  readonly action: ControlAction
  readonly scope: ControlScope
  readonly target: string
  readonly reason: string
  readonly actor: Actor
  readonly until?: string | undefined
  readonly forSeconds?: number | undefined
  readonly running: RunningPolicy
  /** What happens when another control is in force there: `refuse` it, `replace` it, or `keep` it. */
  readonly other: 'refuse' | 'replace' | 'keep'
}

/**
 * Puts a control in force. From the commit on, no lease statement takes what is in its scope, and nothing that is frozen is promoted or converted:
 * a freeze waits for what is under way, and what comes after it waits for the freeze.
 * @returns the one in force, and whether this changed anything
 * @throws AGENTBUS_NOT_FOUND, AGENTBUS_ORDER_NOT_FOUND for a target that does not exist, AGENTBUS_CONTROL_CONFLICT, AGENTBUS_BAD_REQUEST for an end that is past
 */
export async function setControl(tx: Tx, wanted: WantedControl): Promise<{ control: ControlRow; changed: boolean }> {
  // Before any row is locked: whoever promotes or converts holds it to the end.
  if (wanted.scope === 'promotions' || wanted.scope === 'conversions') await tx.execute(sql`select pg_advisory_xact_lock(${ADVISORY[wanted.scope]})`)
  await mustExist(tx, wanted.scope, wanted.target)
  await mustLieAhead(tx, 'until', wanted.until)
  const until = wanted.forSeconds === undefined ? sql`${wanted.until ?? null}::timestamptz` : sql`clock_timestamp() + make_interval(secs => ${wanted.forSeconds})`
  const known = await lockOpen(tx, wanted)
  if (known !== undefined) {
    if (isSame(known, wanted)) return alsoCancel(tx, known, wanted)
    if (wanted.other === 'keep') return { control: known, changed: false }
    if (wanted.other === 'refuse') throw conflict(known, wanted)
    await lift(tx, known, { because: 'replaced', reason: wanted.reason, actor: wanted.actor })
  }
  const { rows } = await tx.execute(sql`
    insert into controls (action, scope, target, reason, set_by_kind, set_by, until_at, running, last_seq)
    values (${wanted.action}, ${wanted.scope}::control_scope, ${wanted.target}, ${wanted.reason}, ${wanted.actor.kind}::actor_kind, ${wanted.actor.id}, ${until}, ${wanted.running}, 1)
    on conflict (scope, target) where lifted_at is null do nothing returning *`)
  const row = rows[0] as unknown as ControlRow | undefined
  // Somebody else has set one since the look above: it is decided on that one.
  if (row === undefined) return setControl(tx, wanted)
  await tx.execute(sql`
    insert into control_changes (control_id, seq, change, reason, actor_kind, actor) values (${row.id}, 1, 'set', ${wanted.reason}, ${wanted.actor.kind}::actor_kind, ${wanted.actor.id})`)
  await observe(tx, {
    kind: 'operator_action',
    code: CODES[wanted.action],
    actor: wanted.actor,
    detail: wanted.reason,
    details: { scope: row.scope, target: row.target, ...(row.until_at === null ? {} : { until: row.until_at }), ...(row.running === 'leave' ? {} : { running: row.running }) },
    ...placeOf(row),
  })
  hintAfterCommit(tx, { fleet: true })
  return { control: row, changed: true }
}

const CODES = { pause: 'paused', drain: 'draining', freeze: 'frozen' } as const

/** Lets work start again. @returns the control that was lifted; undefined when none was in force */
export async function resumeControl(
  tx: Tx,
  what: { readonly scope: ControlScope; readonly target: string; readonly reason: string; readonly actor: Actor },
): Promise<ControlRow | undefined> {
  await mustExist(tx, what.scope, what.target)
  const known = await lockOpen(tx, what)
  return known === undefined ? undefined : lift(tx, known, { because: 'resumed', reason: what.reason, actor: what.actor })
}

/** The control that is in force there, locked. One whose time has come is put down as expired first. */
async function lockOpen(tx: Tx, { scope, target }: { readonly scope: ControlScope; readonly target: string }): Promise<ControlRow | undefined> {
  const { rows } = await tx.execute(sql`
    select *, until_at <= clock_timestamp() as f_over from controls where scope = ${scope}::control_scope and target = ${target} and lifted_at is null for update`)
  const row = rows[0] as (ControlRow & { f_over: boolean | null }) | undefined
  if (row?.f_over !== true) return row
  await expire(tx, row)
  return undefined
}

/** Puts down that a control's time has come. It has stopped nothing since then. */
export function expire(tx: Tx, control: ControlRow): Promise<ControlRow> {
  return lift(tx, control, { because: 'expired', reason: 'Its time has come.', actor: SYSTEM_ACTOR })
}

async function lift(
  tx: Tx,
  control: ControlRow,
  why: { readonly because: 'resumed' | 'expired' | 'replaced'; readonly reason: string; readonly actor: Actor },
): Promise<ControlRow> {
  const at = why.because === 'expired' ? sql`until_at` : sql`clock_timestamp()`
  const set = sql`lifted_at = ${at}, lifted_by_kind = ${why.actor.kind}::actor_kind, lifted_by = ${why.actor.id}, lifted_because = ${why.because}, lift_reason = ${why.reason}`
  const lifted = await change(tx, control, { kind: why.because, reason: why.reason, actor: why.actor, set })
  if (why.because !== 'replaced') {
    const code = control.action === 'freeze' ? 'unfrozen' : why.because
    await observe(tx, {
      kind: 'operator_action',
      code,
      actor: why.actor,
      detail: why.reason,
      details: { scope: control.scope, target: control.target },
      ...placeOf(control),
    })
  }
  hintAfterCommit(tx, { fleet: true })
  return lifted
}

/** Changes a control with the row of its history. The caller holds its lock. */
export async function change(
  tx: Tx,
  control: Pick<ControlRow, 'id'>,
  to: { readonly kind: ControlChangeKind; readonly reason: string; readonly actor: Actor; readonly set?: SQL; readonly details?: Record<string, unknown> },
): Promise<ControlRow> {
  const { rows } = await tx.execute(sql`
    with changed as (
      update controls set ${to.set === undefined ? sql`` : sql`${to.set},`} last_seq = last_seq + 1 where id = ${control.id} returning *
    ), logged as (
      insert into control_changes (control_id, seq, change, reason, actor_kind, actor, details)
      select id, last_seq, ${to.kind}, ${to.reason}, ${to.actor.kind}::actor_kind, ${to.actor.id}, ${JSON.stringify(to.details ?? {})}::jsonb from changed
    )
    select * from changed`)
  const row = rows[0] as unknown as ControlRow | undefined
  if (row === undefined) throw new Error(`control ${control.id} changed under its lock`)
  return row
}

/** Whether the one in force already is what is wanted. What was asked to last for so long never is the same twice. */
function isSame(known: ControlRow, wanted: WantedControl): boolean {
  if (known.action !== wanted.action || wanted.forSeconds !== undefined) return false
  if (known.until_at === null || wanted.until === undefined) return known.until_at === null && wanted.until === undefined
  return Date.parse(known.until_at) === Date.parse(wanted.until)
}

/** A pause that left alone what runs may be told later to cancel it. */
async function alsoCancel(tx: Tx, known: ControlRow, wanted: WantedControl): Promise<{ control: ControlRow; changed: boolean }> {
  if (wanted.running === 'leave' || known.running === 'cancel') return { control: known, changed: false }
  const control = await change(tx, known, { kind: 'running_cancelled', reason: wanted.reason, actor: wanted.actor, set: sql`running = 'cancel'` })
  hintAfterCommit(tx, { fleet: true })
  return { control, changed: true }
}

function conflict(known: ControlRow, wanted: WantedControl): AgentbusError {
  const place = known.target === '' ? known.scope : `${known.scope} ${known.target}`
  const until = known.until_at === null ? 'until somebody ends it' : `until ${new Date(Date.parse(known.until_at)).toISOString()}`
  return new AgentbusError('AGENTBUS_CONTROL_CONFLICT', `A ${known.action} of ${place} by ${known.set_by} is in force, ${until}; this ${wanted.action} would be another.`, {
    control_id: known.id,
    action: known.action,
    scope: known.scope,
    target: known.target === '' ? null : known.target,
  })
}

async function mustExist(tx: Tx, scope: ControlScope, target: string): Promise<void> {
  if (scope === 'lane') {
    if (!(LANES as readonly string[]).includes(target))
      throw new AgentbusError('AGENTBUS_NOT_FOUND', `No lane is named ${target}; there are ${LANES.join(', ')}.`, { scope, target })
    return
  }
  const { from, code } = TABLES[scope] ?? {}
  if (from === undefined || code === undefined) return
  const { rows } = await tx.execute(sql`select 1 from ${sql.raw(from)} = ${target} limit 1`)
  if (rows.length === 0) throw new AgentbusError(code, `No ${scope === 'order' ? 'standing order' : scope} is named ${target}.`, { scope, target })
}

const TABLES: Readonly<Partial<Record<ControlScope, { readonly from: string; readonly code: ErrorCode }>>> = {
  agent: { from: 'agents where id', code: 'AGENTBUS_NOT_FOUND' },
  gateway: { from: 'gateways where id', code: 'AGENTBUS_NOT_FOUND' },
  order: { from: "standing_orders where agent_id || '/' || name", code: 'AGENTBUS_ORDER_NOT_FOUND' },
}

function placeOf(of: { readonly scope: ControlScope; readonly target: string }): { agentId?: string; gatewayId?: string } {
  if (of.scope === 'agent') return { agentId: of.target }
  if (of.scope === 'gateway') return { gatewayId: of.target }
  return {}
}

/** Who has frozen promotions or conversions, and why; undefined when they are free. Whoever promotes or converts asks in the transaction that does it. */
export async function frozenBy(tx: Tx, scope: 'promotions' | 'conversions'): Promise<{ readonly reason: string; readonly by: string } | undefined> {
  const { rows } = await tx.execute<{ reason: string; by: string }>(sql`
    select reason, set_by as by from controls
    where scope = ${scope}::control_scope and lifted_at is null and (until_at is null or until_at > clock_timestamp())`)
  return rows[0]
}
