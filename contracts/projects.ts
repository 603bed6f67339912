import { z } from 'zod'
import { AgentId, AttemptId, JobId, Namespace } from './ids.js'
import { JsonObject, storableText } from './text.js'

/** A project is known as soon as somebody writes about it; nothing declares it. */
export const ProjectName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'letters, digits, dot, underscore and hyphen; first a letter or digit; at most 100')
  .brand<'ProjectName'>()
export type ProjectName = z.infer<typeof ProjectName>

/** A bigint of Postgres, as text. */
export const LogEntryId = z
  .string()
  .regex(/^[1-9][0-9]{0,17}$/, 'is not one that a list has given')
  .brand<'LogEntryId'>()
export type LogEntryId = z.infer<typeof LogEntryId>

/** The body of `POST /v1/projects/{project}/log`. */
export const AppendProjectLogBody = z
  .strictObject({
    namespace: Namespace.default('default'),
    entry: storableText({ min: 1, max: 8_000 }),
    details: JsonObject.default({}),
  })
  .meta({ id: 'AppendProjectLog' })
export type AppendProjectLogBody = z.infer<typeof AppendProjectLogBody>

/** The body of `PUT /v1/projects/{project}/status`. Each is a new version, also when it says the same: then it says so anew. */
export const SetProjectStatusBody = z
  .strictObject({
    namespace: Namespace.default('default'),
    /** In a few words. */
    status: storableText({ min: 1, max: 200 }),
    /** The whole of it, in Markdown. */
    body: storableText({ max: 20_000 }).default(''),
  })
  .meta({ id: 'SetProjectStatus' })
export type SetProjectStatusBody = z.infer<typeof SetProjectStatusBody>

const timestamp = z.iso.datetime({ offset: true })

export const ProjectLogEntryView = z
  .object({
    id: LogEntryId,
    namespace: Namespace,
    project: ProjectName,
    entry: z.string(),
    details: z.record(z.string(), z.unknown()),
    agent_id: AgentId.nullable(),
    /** The job and the attempt that wrote it; null when no attempt did. */
    job_id: JobId.nullable(),
    attempt_id: AttemptId.nullable(),
    actor_kind: z.string(),
    actor: z.string(),
    at: timestamp,
  })
  .meta({ id: 'ProjectLogEntry' })
export type ProjectLogEntryView = z.infer<typeof ProjectLogEntryView>

export const ProjectStatusView = z
  .object({
    namespace: Namespace,
    project: ProjectName,
    /** From 1, without a gap. */
    version: z.int(),
    status: z.string(),
    body: z.string(),
    agent_id: AgentId.nullable(),
    /** The job whose attempt wrote it; null when no attempt did. */
    job_id: JobId.nullable(),
    actor_kind: z.string(),
    actor: z.string(),
    at: timestamp,
  })
  .meta({ id: 'ProjectStatus' })
export type ProjectStatusView = z.infer<typeof ProjectStatusView>

export const ProjectView = z
  .object({
    namespace: Namespace,
    project: ProjectName,
    /** What its newest status says; null while it has none. */
    status: z.string().nullable(),
    version: z.int().nullable(),
    status_at: timestamp.nullable(),
    last_log_at: timestamp.nullable(),
  })
  .meta({ id: 'Project' })
export type ProjectView = z.infer<typeof ProjectView>

const limit = z.coerce.number().int().min(1).max(200).default(50)

export const ProjectQuery = z.strictObject({ namespace: Namespace.default('default') }).meta({ id: 'ProjectQuery' })
export type ProjectQuery = z.infer<typeof ProjectQuery>

export const ListProjectLogQuery = z.strictObject({ namespace: Namespace.default('default'), limit, cursor: LogEntryId.optional() }).meta({ id: 'ListProjectLog' })
export type ListProjectLogQuery = z.infer<typeof ListProjectLogQuery>

export const ListProjectStatusesQuery = z
  .strictObject({
    namespace: Namespace.default('default'),
    limit,
    /** The version that the last page ended with. */
    cursor: z
      .string()
      .regex(/^[1-9][0-9]{0,8}$/, 'is not one that a list has given')
      .optional(),
  })
  .meta({ id: 'ListProjectStatuses' })
export type ListProjectStatusesQuery = z.infer<typeof ListProjectStatusesQuery>

export const ListProjectsQuery = z
  .strictObject({
    namespace: Namespace.optional(),
    limit,
    /** Namespace and name of the project that the last page ended with. */
    cursor: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,63}\/[A-Za-z0-9._-]{1,100}$/, 'is not one that a list has given')
      .optional(),
  })
  .meta({ id: 'ListProjects' })
export type ListProjectsQuery = z.infer<typeof ListProjectsQuery>
