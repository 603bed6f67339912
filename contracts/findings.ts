import { z } from 'zod'
import { AgentId, AttemptId, JobId, Namespace, uuid } from './ids.js'
import { JsonObject, storableText, Time } from './text.js'

/** How bad a finding is, mildest first. */
export const FINDING_LEVELS = ['info', 'warning', 'urgent'] as const
export const FindingLevel = z.enum(FINDING_LEVELS)
export type FindingLevel = z.infer<typeof FindingLevel>

export const FINDING_STATUSES = ['open', 'settled'] as const
/** How a finding ended: somebody said so, nobody saw it for long, or the result that it asked for came. */
export const SETTLED_AS = ['settled', 'forgotten', 'answered'] as const
export const MESSAGE_STATUSES = ['unread', 'read', 'acknowledged', 'withdrawn'] as const
/** What the reader did with a message. `settled` ends the finding too. */
export const ACKNOWLEDGED_AS = ['delivered', 'dismissed', 'settled'] as const
/** Why a filing did not reach the inbox as a message of its own. */
export const HELD_BECAUSE = ['message_open', 'too_soon', 'too_young', 'not_today', 'silent'] as const
export type HeldBecause = (typeof HELD_BECAUSE)[number]
/** The rows of a finding's history. */
export const FINDING_MOVES = ['filed', 'raised', 'read', 'returned', 'acknowledged', 'withdrawn', 'settled'] as const
export type FindingMove = (typeof FINDING_MOVES)[number]

export const FindingId = uuid().brand<'FindingId'>()
export type FindingId = z.infer<typeof FindingId>
export const MessageId = uuid().brand<'MessageId'>()
export type MessageId = z.infer<typeof MessageId>

const Topic = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$/, 'dot-separated words')
  .max(200)
const SubjectKey = storableText({ min: 1, max: 200 })

/**
 * The topic of findings about work that was handed over and has no result. The bus files them; filed by the agent that owes
 * the result, they would only make the bus wait longer from time to time.
 */
export const PENDING_RESULT = 'pending_result'

/** The body of `POST /v1/findings`, and an item of `findings` in a closing command. */
export const FileFindingBody = z
  .strictObject({
    namespace: Namespace.default('default'),
    /** What kind of finding: `disk.full`, `reminder.overdue`. The nag policy is chosen by it. */
    topic: Topic.refine((topic) => topic !== PENDING_RESULT, 'is filed by the bus alone'),
    /** Which thing it is about. The same topic and key are the same finding, seen again. */
    subject_key: SubjectKey,
    level: FindingLevel.default('info'),
    body: storableText({ min: 1, max: 4_000 }),
    data: JsonObject.default({}),
    /** Whose inbox; without it the coordinator's. */
    to: AgentId.optional(),
    /** Since when it has been so; without it, since it was first seen. Its days are counted from here. */
    since: Time.optional(),
    source_agent: AgentId.optional(),
  })
  .meta({ id: 'FileFinding' })
export type FileFindingBody = z.infer<typeof FileFindingBody>

const timestamp = z.iso.datetime({ offset: true })

export const FindingView = z
  .object({
    id: FindingId,
    namespace: Namespace,
    /** Whose inbox it goes to. */
    agent_id: AgentId,
    topic: z.string(),
    subject_key: z.string(),
    level: FindingLevel,
    body: z.string(),
    data: z.record(z.string(), z.unknown()),
    /** Who filed it last. */
    source_agent: AgentId.nullable(),
    since: timestamp,
    first_seen_at: timestamp,
    last_seen_at: timestamp,
    /** How many times it was filed. */
    count: z.int(),
    last_raised_at: timestamp.nullable(),
    /** How many times the nag policy has raised it. */
    nag_count: z.int(),
    /** The step of the nag policy that raised it last; 0 before the first. */
    nag_level: z.int(),
    status: z.enum(FINDING_STATUSES),
    settled_at: timestamp.nullable(),
    settled_as: z.enum(SETTLED_AS).nullable(),
  })
  .meta({ id: 'Finding' })
export type FindingView = z.infer<typeof FindingView>

/** What became of a filing. */
export const FiledView = z
  .object({
    finding: FindingView,
    /** The message that is in the inbox for it; null when it stays silent. */
    message_id: MessageId.nullable(),
    raised: z.boolean(),
    held_because: z.enum(HELD_BECAUSE).nullable(),
  })
  .meta({ id: 'FiledFinding' })
export type FiledView = z.infer<typeof FiledView>

export const InboxMessageView = z
  .object({
    id: MessageId,
    finding_id: FindingId,
    agent_id: AgentId,
    topic: z.string(),
    subject_key: z.string(),
    level: FindingLevel,
    /** How to say it: the policy's word, such as `polite` or `firm`. */
    tone: z.string(),
    nag_level: z.int(),
    /** What to say, as the policy puts it. */
    text: z.string(),
    data: z.record(z.string(), z.unknown()),
    source_agent: AgentId.nullable(),
    first_seen_at: timestamp,
    last_seen_at: timestamp,
    count: z.int(),
    status: z.enum(MESSAGE_STATUSES),
    created_at: timestamp,
    read_by: z.string().nullable(),
    read_at: timestamp.nullable(),
    closed_at: timestamp.nullable(),
    outcome: z.enum(ACKNOWLEDGED_AS).nullable(),
    note: z.string().nullable(),
  })
  .meta({ id: 'InboxMessage' })
export type InboxMessageView = z.infer<typeof InboxMessageView>

export const FindingMoveView = z
  .object({
    seq: z.int(),
    kind: z.enum(FINDING_MOVES),
    message_id: MessageId.nullable(),
    job_id: JobId.nullable(),
    attempt_id: AttemptId.nullable(),
    actor_kind: z.string(),
    actor: z.string(),
    details: z.record(z.string(), z.unknown()),
    at: timestamp,
  })
  .meta({ id: 'FindingMove' })

/** One finding with its messages and everything that happened to it. */
export const FindingHistory = z.object({ finding: FindingView, messages: z.array(InboxMessageView), history: z.array(FindingMoveView) }).meta({ id: 'FindingHistory' })
export type FindingHistory = z.infer<typeof FindingHistory>

export const ListFindingsQuery = z
  .strictObject({
    agent: AgentId.optional(),
    topic: Topic.optional(),
    subject_key: SubjectKey.optional(),
    status: z.enum(FINDING_STATUSES).optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListFindings' })
export type ListFindingsQuery = z.infer<typeof ListFindingsQuery>

export const ListInboxQuery = z
  .strictObject({
    agent: AgentId.optional(),
    /** Without it: what is open, that is unread or read and not acknowledged. */
    status: z.enum(MESSAGE_STATUSES).optional(),
    limit: z.coerce.number().int().min(1).max(200).default(50),
    cursor: z.string().max(200).optional(),
  })
  .meta({ id: 'ListInbox' })
export type ListInboxQuery = z.infer<typeof ListInboxQuery>

export const ReadInboxBody = z
  .strictObject({
    /** Whose inbox; an agent and its attempts read their own. */
    agent: AgentId.optional(),
    topic: Topic.optional(),
    limit: z.int().min(1).max(100).default(20),
    /** How long a reader that is not an attempt may keep what it read. An attempt keeps it until it ends. */
    seconds: z.int().min(5).max(86_400).default(600),
  })
  .meta({ id: 'ReadInbox' })
export type ReadInboxBody = z.infer<typeof ReadInboxBody>

export const AcknowledgeBody = z
  .strictObject({
    ids: z.array(MessageId).min(1).max(100),
    outcome: z.enum(ACKNOWLEDGED_AS).default('delivered'),
    note: storableText({ min: 1, max: 4_000 }).optional(),
  })
  .meta({ id: 'Acknowledge' })
export type AcknowledgeBody = z.infer<typeof AcknowledgeBody>

export const SettleFindingBody = z.strictObject({ note: storableText({ min: 1, max: 4_000 }) }).meta({ id: 'SettleFinding' })
export type SettleFindingBody = z.infer<typeof SettleFindingBody>
