import { sql, type InferSelectModel, type SQL } from 'drizzle-orm'
import type { Actor } from '../contracts/actor.js'
import { AgentbusError } from '../contracts/errors.js'
import type { AgentId, AttemptId, JobId } from '../contracts/ids.js'
import type {
  AppendProjectLogBody,
  ListProjectLogQuery,
  ListProjectsQuery,
  ListProjectStatusesQuery,
  LogEntryId,
  ProjectLogEntryView,
  ProjectName,
  ProjectStatusView,
  ProjectView,
  SetProjectStatusBody,
} from '../contracts/projects.js'
import { ADVISORY } from './advisory-locks.js'
import type { Db, Tx } from './database.js'
import { page, type Page } from './queries.js'
import { iso } from './rows.js'
import type { project_log, project_statuses } from './schema/index.js'

type LogRow = InferSelectModel<typeof project_log>
type StatusRow = InferSelectModel<typeof project_statuses>

/** Who writes about a project, and for which run. */
export interface ProjectWriter {
  readonly actor: Actor
  /** The agent the caller speaks for. */
  readonly agentId?: string | undefined
  readonly jobId?: string | undefined
  readonly attemptId?: string | undefined
}

/** Statuses of one project are written one after the other. The first of the two keys sets them apart from other locks. */

export async function appendProjectLog(tx: Tx, project: ProjectName, body: AppendProjectLogBody, by: ProjectWriter): Promise<ProjectLogEntryView> {
  const { rows } = await tx.execute(sql`
    insert into project_log (namespace, project, entry, details, agent_id, job_id, attempt_id, actor_kind, actor)
    values (${body.namespace}, ${project}, ${body.entry}, ${JSON.stringify(body.details)}::jsonb, ${by.agentId ?? null}, ${by.jobId ?? null}::uuid,
      ${by.attemptId ?? null}::uuid, ${by.actor.kind}::actor_kind, ${by.actor.id})
    returning *`)
  return entryView(rows[0] as unknown as LogRow)
}

/**
 * Writes the next version of a project's status. Of two writers the second waits for the first, so versions have no gap;
 * with `ifVersion` it is refused then. 0 stands for "has none yet".
 * @throws AGENTBUS_VERSION_MISMATCH
 */
export async function writeProjectStatus(
  tx: Tx,
  project: ProjectName,
  body: SetProjectStatusBody,
  by: ProjectWriter & { readonly ifVersion?: number | undefined },
): Promise<ProjectStatusView> {
  await tx.execute(sql`select pg_advisory_xact_lock(${ADVISORY.projectStatus}::int, hashtext(${`${body.namespace}/${project}`}))`)
  const newest = await tx.execute<{ version: number }>(sql`
    select coalesce(max(version), 0)::int as version from project_statuses where namespace = ${body.namespace} and project = ${project}`)
  const version = newest.rows[0]?.version ?? 0
  if (by.ifVersion !== undefined && by.ifVersion !== version) {
    const stands = version === 0 ? 'does not exist' : `is at version ${version}`
    throw new AgentbusError('AGENTBUS_VERSION_MISMATCH', `The status of project ${project} ${stands}, not at ${by.ifVersion}.`, { version })
  }
  const { rows } = await tx.execute(sql`
    insert into project_statuses (namespace, project, version, status, body, agent_id, job_id, actor_kind, actor)
    values (${body.namespace}, ${project}, ${version + 1}, ${body.status}, ${body.body}, ${by.agentId ?? null}, ${by.jobId ?? null}::uuid,
      ${by.actor.kind}::actor_kind, ${by.actor.id})
    returning *`)
  return statusView(rows[0] as StatusRow)
}

/** What was appended about a project, newest first; keyset paging on the id. */
export async function listProjectLog(db: Db, project: ProjectName, query: ListProjectLogQuery): Promise<Page<ProjectLogEntryView>> {
  const { rows } = await db.execute(sql`
    select * from project_log where namespace = ${query.namespace} and project = ${project}
      ${query.cursor === undefined ? sql`` : sql`and id < ${query.cursor}::bigint`}
    order by id desc limit ${query.limit + 1}`)
  return page((rows as unknown as LogRow[]).map(entryView), query.limit, (entry) => entry.id)
}

/** The status that holds. @throws AGENTBUS_NOT_FOUND */
export async function projectStatus(db: Db, project: ProjectName, namespace: string): Promise<ProjectStatusView> {
  const { items } = await listProjectStatuses(db, project, { namespace, limit: 1 })
  const [newest] = items
  if (newest === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `Project ${project} has no status.`, { project })
  return newest
}

/** Every status a project had, newest first; keyset paging on the version. */
export async function listProjectStatuses(db: Db, project: ProjectName, query: ListProjectStatusesQuery): Promise<Page<ProjectStatusView>> {
  const { rows } = await db.execute(sql`
    select * from project_statuses where namespace = ${query.namespace} and project = ${project}
      ${query.cursor === undefined ? sql`` : sql`and version < ${query.cursor}::int`}
    order by version desc limit ${query.limit + 1}`)
  return page((rows as StatusRow[]).map(statusView), query.limit, (status) => String(status.version))
}

/**
 * Every project that somebody has written about, by namespace and name. It goes from name to name along the two indexes:
 * a `distinct` would read every entry of every log.
 */
export async function listProjects(db: Db | Tx, query: ListProjectsQuery): Promise<Page<ProjectView>> {
  const [namespace = '', project = ''] = query.cursor?.split('/') ?? []
  const { rows } = await db.execute(sql`
    with recursive known as (
      (${nextProject(query, sql`(${namespace}::text, ${project}::text)`, sql`1`)})
      union all
      select next.* from known cross join lateral (${nextProject(query, sql`(known.namespace, known.project)`, sql`known.n + 1`)}) next
      where known.n <= ${query.limit}
    )
    select known.namespace, known.project, s.status, s.version, s.at as status_at, l.at as last_log_at
    from known
    left join lateral (select status, version, at from project_statuses p where p.namespace = known.namespace and p.project = known.project order by version desc limit 1) s on true
    left join lateral (select at from project_log p where p.namespace = known.namespace and p.project = known.project order by id desc limit 1) l on true
    order by known.namespace, known.project`)
  return page(rows.map(projectView), query.limit, (one) => `${one.namespace}/${one.project}`)
}

function nextProject(query: ListProjectsQuery, after: SQL, n: SQL): SQL {
  const inNamespace = query.namespace === undefined ? sql`` : sql`and namespace = ${query.namespace}`
  const first = (table: SQL): SQL => sql`(select namespace, project from ${table} where (namespace, project) > ${after} ${inNamespace} order by namespace, project limit 1)`
  return sql`
    select namespace, project, ${n} as n from (${first(sql`project_log`)} union all ${first(sql`project_statuses`)}) either order by namespace, project limit 1`
}

function entryView(row: LogRow): ProjectLogEntryView {
  return {
    // PostgreSQL gives a bigint as text, whatever Drizzle makes of it.
    id: String(row.id) as LogEntryId,
    namespace: row.namespace,
    project: row.project as ProjectName,
    entry: row.entry,
    details: row.details,
    agent_id: row.agent_id as AgentId | null,
    job_id: row.job_id as JobId | null,
    attempt_id: row.attempt_id as AttemptId | null,
    actor_kind: row.actor_kind,
    actor: row.actor,
    at: iso(row.at),
  }
}

function statusView(row: StatusRow): ProjectStatusView {
  return {
    namespace: row.namespace,
    project: row.project as ProjectName,
    version: row.version,
    status: row.status,
    body: row.body,
    agent_id: row.agent_id as AgentId | null,
    job_id: row.job_id as JobId | null,
    actor_kind: row.actor_kind,
    actor: row.actor,
    at: iso(row.at),
  }
}

function projectView(row: Record<string, unknown>): ProjectView {
  const time = (value: unknown): string | null => (typeof value === 'string' ? iso(value) : null)
  return {
    namespace: String(row['namespace']),
    project: String(row['project']) as ProjectName,
    status: row['status'] as string | null,
    version: row['version'] as number | null,
    status_at: time(row['status_at']),
    last_log_at: time(row['last_log_at']),
  }
}
