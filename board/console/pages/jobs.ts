import { z } from 'zod'
import { AgentId, JobId, Namespace } from '../../../contracts/ids.js'
import { JOB_STATUSES, JobStatus, Lane, LANES } from '../../../contracts/job-states.js'
import { JobType } from '../../../contracts/jobs.js'
import { SEARCH_BUDGET, type FoundJob } from '../../../ledger/console/search-jobs.js'
import { queryOf, type PageHandler } from '../deps.js'
import { html, link, type Part } from '../html.js'
import { agentLink, ago, choice, count, empty, field, jobBadge, jobLink, said, span, table } from '../parts.js'

const key = z.string().min(1).max(200).optional()
/** What `<input type="datetime-local">` sends, read as UTC. */
const Local = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/, 'a time such as 2026-11-21T10:00')
  .refine((text) => !Number.isNaN(Date.parse(`${text}Z`)), 'no such time')
const Query = z.object({
  q: z.string().max(300).optional(),
  agent: AgentId.optional(),
  source: AgentId.optional(),
  lane: Lane.optional(),
  status: JobStatus.optional(),
  namespace: Namespace.optional(),
  type: JobType.optional(),
  correlation_key: key,
  flow_key: key,
  parent: JobId.optional(),
  from: Local.optional(),
  to: Local.optional(),
  cursor: z.string().max(100).optional(),
})
const PAGE = 50

/** Search in all jobs, newest first. */
export const jobsPage: PageHandler = async (input, { ledger, nowMs }) => {
  const query = queryOf(Query, input.query)
  const utc = (time: string | undefined): string | undefined => (time === undefined ? undefined : new Date(`${time}Z`).toISOString())
  const found = await ledger.console.jobs({
    text: query.q,
    agent: query.agent,
    source: query.source,
    lane: query.lane,
    status: query.status,
    namespace: query.namespace,
    job_type: query.type,
    correlation_key: query.correlation_key,
    flow_key: query.flow_key,
    parent_job_id: query.parent,
    from: utc(query.from),
    to: utc(query.to),
    cursor: query.cursor,
    limit: PAGE,
  })
  const { cursor, ...filters } = query
  const isFiltered = Object.values(filters).some((value) => value !== undefined)
  return {
    title: 'Jobs',
    main: html`<form class="filters panel" method="get" action="/console/jobs" role="search" aria-label="Filters">
        ${field('Text or id', 'q', query.q, { placeholder: 'in subject or error' })} ${field('Agent', 'agent', query.agent)}
        ${choice('Lane', 'lane', query.lane, [['', 'any'], ...LANES.map((lane) => [lane, lane] as const)])}
        ${choice('Status', 'status', query.status, [['', 'any'], ...JOB_STATUSES.map((status) => [status, status] as const)])} ${field('Namespace', 'namespace', query.namespace)}
        ${field('Type', 'type', query.type)} ${field('Correlation key', 'correlation_key', query.correlation_key)}
        ${field('Created from', 'from', query.from, { type: 'datetime-local' })} ${field('until', 'to', query.to, { type: 'datetime-local' })}
        ${field('From agent', 'source', query.source)} ${query.flow_key !== undefined && html`<input type="hidden" name="flow_key" value="${query.flow_key}" />`}
        ${query.parent !== undefined && html`<input type="hidden" name="parent" value="${query.parent}" />`}
        <div class="buttons"><button type="submit" class="primary">Search</button>${isFiltered && html` <a class="button" href="/console/jobs">All jobs</a>`}</div>
      </form>
      <section id="jobs" data-live aria-label="Jobs found">
        ${
          found.items.length === 0
            ? empty(found.cut ? 'Nothing so far that fits.' : 'No job fits.')
            : table(
                'Jobs, newest first',
                COLUMNS,
                found.items.map((job) => rowOf(job, nowMs)),
              )
        }
        <nav class="pager" aria-label="Pages of jobs">
          ${cursor !== undefined && html`<a class="button" href="${link('/console/jobs', filters)}">Newest</a>`}
          ${found.next_cursor !== null && html`<a class="button" rel="next" href="${link('/console/jobs', { ...filters, cursor: found.next_cursor })}">${found.cut ? 'Search further back' : 'Older'}</a>`}
          ${found.cut && html`<span class="dim">${count(SEARCH_BUDGET)} jobs were looked through.</span>`}
        </nav>
      </section>`,
  }
}

const COLUMNS = [
  { name: 'Job' },
  { name: 'Status' },
  { name: 'Agent' },
  { name: 'Lane' },
  { name: 'Tries', number: true },
  { name: 'Created' },
  { name: 'Took', number: true },
  { name: 'Correlation' },
]

function rowOf(job: FoundJob, nowMs: number): Part[] {
  const endMs = job.finished_at === null ? nowMs : Date.parse(job.finished_at)
  return [
    html`${jobLink(job.id, job.subject)}${job.last_error !== null && job.status !== 'succeeded' && html`<div class="dim error">${said(job.last_error, 110)}</div>`}`,
    jobBadge(job.status),
    html`${agentLink(job.target_agent)}${job.source_agent !== null && html` <span class="dim">from ${job.source_agent}</span>`}`,
    job.lane,
    `${job.attempt_count}/${job.max_attempts}`,
    html`${ago(job.created_at, nowMs)} <span class="dim">ago</span>`,
    html`<span ${job.finished_at === null ? html`class="dim"` : ''}>${span((endMs - Date.parse(job.created_at)) / 1_000)}</span>`,
    job.correlation_key === null
      ? html`<span class="dim">–</span>`
      : html`<a href="${link('/console/jobs', { correlation_key: job.correlation_key })}">${said(job.correlation_key, 40)}</a>`,
  ]
}
