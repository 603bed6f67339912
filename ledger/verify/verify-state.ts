import { z } from 'zod'
import { JobStatus } from '../../contracts/job-states.js'
import type { SignatureCheck } from '../audit/signing.js'
import type { Anchor } from './checkpoints.js'
import type { CheckResult, Violation } from './report.js'

/** Raised when the positions or the checks become others than those that an older build wrote down. */
export const STATE_VERSION = 6

/** What a run was given beside the ledger. Whoever goes on from it needs the same, or parts of the verdict would be of another run. */
export interface VerifyInputs {
  /** `seq:hash`, sorted. */
  readonly anchors: readonly string[]
  /** The ids of the public keys, sorted. */
  readonly keys: readonly string[]
  /** Whether the secret was at hand that attempt tokens are derived from. */
  readonly secret: boolean
}

/** What is written down between two pages. */
export interface VerifyState {
  readonly version: typeof STATE_VERSION
  /** Which ledger, and from when on; a run goes on only with the same. */
  readonly ledger: string
  readonly since: string | null
  readonly inputs: VerifyInputs
  readonly done: readonly CheckResult[]
  readonly open: { readonly check: string; readonly position: unknown; readonly examined: number; readonly violations: readonly Violation[] } | null
}

/** What of its inputs a run writes down. */
export function inputsOf(given: { readonly anchors: readonly Anchor[]; readonly keys: readonly SignatureCheck[]; readonly exactBody: unknown }): VerifyInputs {
  return {
    anchors: given.anchors.map(({ seq, hash }) => `${seq}:${hash}`).toSorted(),
    keys: [...new Set(given.keys.map(({ keyId }) => keyId))].toSorted(),
    secret: given.exactBody !== undefined,
  }
}

const text = z.string()
const seq = z.int().min(0)

const ViolationShape = z.strictObject({ kind: text, what: text, row: z.record(text, z.unknown()), next: text, count: z.int().min(1) })
const ResultShape = z.strictObject({
  check: text,
  verdict: z.enum(['ok', 'violated', 'skipped', 'unchecked']),
  examined: seq,
  violations: z.array(ViolationShape),
  note: text.exactOptional(),
})

const openAt = <Check extends string, Position extends z.ZodType>(check: Check, position: Position) =>
  z.strictObject({ check: z.literal(check), position, examined: seq, violations: z.array(ViolationShape) })

/** The positions are those of the walks; whoever reads a file that somebody may have edited reads it with this. */
const StateShape = z.strictObject({
  version: z.literal(STATE_VERSION),
  ledger: text,
  since: text.nullable(),
  inputs: z.strictObject({ anchors: z.array(text), keys: z.array(text), secret: z.boolean() }),
  done: z.array(ResultShape),
  open: z
    .discriminatedUnion('check', [
      openAt('chains', z.strictObject({ job: z.guid(), seq, hash: text, to: JobStatus, suspect: z.strictObject({ seq, prev: text, before: text }).exactOptional() })),
      openAt('checkpoints', z.strictObject({ seq, hash: text, xactTo: z.string().regex(/^\d+$/), restoredTo: z.string().regex(/^\d+$/).nullable(), signed: z.boolean() })),
      openAt('records', z.strictObject({ seq })),
      openAt('slots', z.strictObject({ from: z.iso.datetime({ offset: true }), to: z.iso.datetime({ offset: true }) })),
      openAt('payloads', z.guid()),
      openAt('prompts', z.guid()),
    ])
    .nullable(),
})

/** A state as it was read, or the reason why it is none, for people. */
export function parseState(written: unknown): { readonly state: VerifyState } | { readonly fault: string } {
  const version = z.object({ version: z.unknown() }).safeParse(written)
  if (!version.success) return { fault: 'it is no state of agentbus verify' }
  if (version.data.version !== STATE_VERSION) return { fault: 'another version of agentbus wrote it' }
  const parsed = StateShape.safeParse(written)
  if (parsed.success) return { state: parsed.data }
  const first = parsed.error.issues[0]
  return { fault: `it is not what agentbus verify wrote (${first === undefined ? 'unknown' : `${first.path.join('.')}: ${first.message}`})` }
}
