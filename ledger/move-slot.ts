import { sql } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import type { SlotStatus } from '../contracts/standing-orders.js'
import type { Tx } from './database.js'
import { instantOf } from './presence.js'

export interface SlotMove {
  readonly runId: string
  readonly to: SlotStatus
  readonly cause?: string | undefined
  readonly actor: Actor
  readonly details: Record<string, unknown>
  readonly nowMs: number
}

/** Moves a slot and appends the row of its history, through the one function of the database that may. */
export async function moveSlot(tx: Tx, move: SlotMove): Promise<void> {
  await tx.execute(sql`
    select move_slot(${move.runId}::uuid, ${move.to}::slot_status, ${move.cause ?? null}, ${move.actor.kind}::actor_kind, ${move.actor.id},
      ${JSON.stringify(move.details)}::jsonb, ${instantOf(move.nowMs)}::timestamptz)`)
}
