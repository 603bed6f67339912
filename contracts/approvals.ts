import { z } from 'zod'
import { ActorKind } from './actor.js'
import { AgentId, JobId, Namespace, uuid } from './ids.js'
import { JsonObject, storableText } from './text.js'

export const APPROVAL_STATUSES = ['pending', 'approved', 'rejected', 'expired', 'withdrawn'] as const
export const ApprovalStatus = z.enum(APPROVAL_STATUSES)
export type ApprovalStatus = z.infer<typeof ApprovalStatus>

export const ApprovalId = uuid().brand<'ApprovalId'>()
export type ApprovalId = z.infer<typeof ApprovalId>

/** What is asked, in a blocked job's `waits_for` and in a step of a workflow. */
export const askedApproval = {
  subject: storableText({ min: 1, max: 500 }).optional(),
  details: JsonObject.default({}),
  /** Nobody has decided after so many seconds: it expires. Absent: it waits. */
  expires_in_seconds: z.int().min(1).max(31_536_000).optional(),
}

export const DecideBody = z.strictObject({ note: storableText({ min: 1, max: 4_000 }).optional() }).meta({ id: 'Decide' })
export const RejectBody = z.strictObject({ note: storableText({ min: 1, max: 4_000 }) }).meta({ id: 'Reject' })
export type DecideBody = z.infer<typeof DecideBody>

export const ListApprovalsQuery = z
  .strictObject({
    namespace: Namespace.optional(),
    status: ApprovalStatus.optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListApprovals' })
export type ListApprovalsQuery = z.infer<typeof ListApprovalsQuery>

const timestamp = z.iso.datetime({ offset: true })

export const ApprovalView = z
  .object({
    id: ApprovalId,
    namespace: Namespace,
    subject: z.string(),
    details: z.record(z.string(), z.unknown()),
    /** Who asks; null: the bus or an operator. */
    agent: AgentId.nullable(),
    job_id: JobId.nullable(),
    workflow_run_id: z.uuid().nullable(),
    step: z.string().nullable(),
    correlation_key: z.string().nullable(),
    status: ApprovalStatus,
    version: z.int(),
    created_by: z.string(),
    created_at: timestamp,
    expires_at: timestamp.nullable(),
    decided_at: timestamp.nullable(),
    decided_by: z.string().nullable(),
    note: z.string().nullable(),
  })
  .meta({ id: 'Approval' })
export type ApprovalView = z.infer<typeof ApprovalView>

export const ApprovalHistory = z
  .object({
    approval: ApprovalView,
    transitions: z.array(z.object({ seq: z.int(), to_status: ApprovalStatus, actor_kind: ActorKind, actor: z.string(), note: z.string().nullable(), at: timestamp })),
  })
  .meta({ id: 'ApprovalHistory' })
export type ApprovalHistory = z.infer<typeof ApprovalHistory>
