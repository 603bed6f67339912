import { z } from 'zod'
import { AgentbusError } from '../../../contracts/errors.js'
import { JobId } from '../../../contracts/ids.js'
import { isTerminal } from '../../../contracts/job-states.js'
import type { AttemptView } from '../../../contracts/attempts.js'
import type { JobView } from '../../../contracts/jobs.js'
import { SURROUNDINGS_SHOWN, type JobSurroundings, type Relative } from '../../../ledger/console/job-surroundings.js'
import { HISTORY_SHOWN, type HistoryRow, type Observed } from '../../../ledger/console/recent-history.js'
import type { Ledger } from '../../../ledger/ledger.js'
import { idOf, queryOf, type PageHandler } from '../deps.js'
import { actionForm } from '../forms.js'
import { clip, html, link, type Html, type Part } from '../html.js'
import { data, facts, folded, verbatim } from '../pieces.js'
import { agentLink, badge, count, empty, jobBadge, jobLink, moment, said, span, table } from '../parts.js'
import { barsOf, waterfall } from '../waterfall.js'

const Query = z.object({ attempt: z.coerce.number().int().min(1).max(10_000).optional() })

/** One job: its time line, what its agent was told and answered, where it comes from, and the rows of its history. */
export const jobPage: PageHandler = async (input, { ledger, nowMs }) => {
  const id = idOf(JobId, input.params['id'])
  const query = queryOf(Query, input.query)
  const { job, transitions, moves, attempts, observations, ...around } = await ledger.console.job(id, { attempt: query.attempt })
  const attempt = query.attempt === undefined ? attempts.at(-1) : attempts.find((one) => one.attempt_no === query.attempt)
  return {
    title: 'Job',
    tools: html`<span id="job-state" data-live>${jobBadge(job.status)}${job.buried_at !== null && html` ${badge({ sign: '_', tone: 'dim', words: 'buried' })}`}</span>`,
    main: html`<p class="subject"><bdi>${clip(job.subject, 2_000)}</bdi></p>
      <section id="job-facts" data-live aria-label="Facts">${operations(job)} ${factsOf(job)}</section>
      <section id="job-line" data-live aria-labelledby="job-line-title">
        <h2 id="job-line-title">Time line</h2>
        ${waterfall(barsOf(job, moves, nowMs))}
      </section>
      <section id="job-run" data-live aria-labelledby="job-run-title">
        <h2 id="job-run-title">Prompt and answer</h2>
        ${await runOf(ledger, job, attempts, attempt)}
      </section>
      <section id="job-around" data-live aria-labelledby="job-around-title">
        <h2 id="job-around-title">Lineage</h2>
        ${lineage(job, around)}
      </section>
      <section id="job-decided" data-live aria-labelledby="job-decided-title">
        <h2 id="job-decided-title">Approvals and findings</h2>
        ${decided(around)}
      </section>
      <section id="job-history" data-live aria-labelledby="job-history-title">
        <h2 id="job-history-title">History</h2>
        ${history(job, transitions)}
        ${
          observations.length > 0 &&
          html`<h3>Refused or seen beside it</h3>
            ${observed(observations)}`
        }
      </section>
      <section aria-labelledby="job-data-title">
        <h2 id="job-data-title">Payload and state</h2>
        ${folded('job-payload', 'Payload', data(job.payload, 'job-payload-text'), { open: Object.keys(job.payload).length > 0 })}
        ${Object.keys(job.state).length > 0 && folded('job-state-data', 'State', data(job.state, 'job-state-text'))}
      </section>`,
  }
}

const RETRIED = 'The job is queued again now, with room for one more attempt.'

/** What can be done to a job as it stands. What is held, too, can be forced: the attempt that holds it ends as cancelled. */
function operations(job: JobView): Html {
  const forms: Html[] = []
  const base = { hidden: { id: job.id } }
  const isHeld = job.status === 'leased' || job.status === 'running'
  if (job.status === 'blocked') {
    forms.push(
      actionForm({
        ...base,
        id: 'unblock',
        action: 'unblock',
        label: 'Answer…',
        title: 'Answer and unblock',
        explain: 'The job is queued again, and its next attempt is told the answer.',
        submit: 'Unblock',
        tone: 'good',
        more: html`<label>Answer for the agent (text or a JSON object)<textarea name="answer" rows="3"></textarea></label>`,
      }),
    )
  }
  if (!isHeld && job.status !== 'queued' && job.status !== 'succeeded')
    forms.push(
      actionForm({
        ...base,
        id: 'retry',
        action: 'retry',
        label: 'Retry…',
        title: 'Queue this job again',
        explain: RETRIED,
        submit: 'Retry',
      }),
    )
  if (job.status === 'queued' && Date.parse(job.run_after) > Date.parse(job.created_at))
    forms.push(
      actionForm({ ...base, id: 'promote', action: 'promote', label: 'Run now…', title: 'Make it due now', explain: 'It need not wait for its time any more.', submit: 'Run now' }),
    )
  if (!isTerminal(job.status))
    forms.push(
      actionForm({
        ...base,
        id: 'cancel',
        action: 'cancel',
        label: 'Cancel…',
        title: 'Cancel this job',
        explain: isHeld ? 'The run under way is not stopped, but its answer will be refused.' : 'It will not run.',
        submit: 'Cancel the job',
        tone: 'bad',
      }),
    )
  if (!isTerminal(job.status)) {
    forms.push(
      actionForm({
        ...base,
        id: 'force-retry',
        action: 'force-retry',
        label: 'Force retry…',
        title: 'Force a retry',
        explain: isHeld ? `The run under way is cut off, and its answer will be refused. ${RETRIED}` : `It waits for nothing any more. ${RETRIED}`,
        submit: 'Force retry',
        tone: 'bad',
      }),
      actionForm({
        ...base,
        id: 'force-dead',
        action: 'force-dead',
        label: 'Force dead…',
        title: 'Force this job dead',
        explain: isHeld
          ? 'The run under way is cut off, its answer will be refused, and the job becomes a dead letter.'
          : 'It will not run: it becomes a dead letter, and can still be retried later.',
        submit: 'Force dead',
        tone: 'bad',
      }),
    )
  }
  if (!isHeld && job.status !== 'succeeded' && job.status !== 'cancelled' && job.buried_at === null) {
    forms.push(
      actionForm({
        ...base,
        id: 'bury',
        action: 'bury',
        label: 'Bury…',
        title: isTerminal(job.status) ? 'Bury this dead letter' : 'Bury this job',
        explain: isTerminal(job.status)
          ? 'It leaves the list of dead letters. It can still be retried later.'
          : 'It is forced dead and leaves the list of dead letters. It can still be retried later.',
        submit: 'Bury',
        tone: 'bad',
      }),
    )
  }
  return forms.length === 0 ? html`` : html`<div class="buttons">${forms}</div>`
}

function factsOf(job: JobView): Html {
  const endMs = job.finished_at === null ? undefined : Date.parse(job.finished_at)
  return facts([
    ['Agent', agentLink(job.target_agent)],
    ['From', job.source_agent === null ? said(job.created_by, 100) : agentLink(job.source_agent)],
    ['Lane', `${job.lane}, priority ${job.priority}`],
    ['Attempts', `${job.attempt_count} of ${job.max_attempts}`],
    ['Created', moment(job.created_at)],
    ['Due', job.run_after === job.created_at ? undefined : moment(job.run_after)],
    [
      'Finished',
      endMs === undefined || job.finished_at === null
        ? undefined
        : html`${moment(job.finished_at)} <span class="dim">after ${span((endMs - Date.parse(job.created_at)) / 1_000)}</span>`,
    ],
    ['Namespace', job.namespace === 'default' ? undefined : job.namespace],
    ['Type', html`<a href="${link('/console/jobs', { type: job.job_type })}">${job.job_type}</a>`],
    [
      'Correlation',
      job.correlation_key === null ? undefined : html`<a href="${link('/console/jobs', { correlation_key: job.correlation_key })}">${said(job.correlation_key, 100)}</a>`,
    ],
    ['Flow', job.flow_key === null ? undefined : html`<a href="${link('/console/jobs', { flow_key: job.flow_key })}">${said(job.flow_key, 100)}</a>`],
    ['Dedupe key', job.dedupe_key === null ? undefined : said(job.dedupe_key, 100)],
    ['Slot', job.standing_order_run_id === null ? undefined : html`<a href="/console/slots/${job.standing_order_run_id}">run of a standing order</a>`],
    ['Blocked because', job.status === 'blocked' ? said(job.blocked_reason, 1_000) : undefined],
    ['Would unblock it', job.status === 'blocked' && job.unblock_action !== null ? said(job.unblock_action, 1_000) : undefined],
    ['Waits for', job.status === 'blocked' && job.waits_for !== null ? said(String(job.waits_for['kind']), 100) : undefined],
    ['Last error', job.last_error === null ? undefined : html`${said(job.last_error, 1_000)} <span class="dim">${job.last_error_code}</span>`],
    ['Id', html`<code>${job.id}</code>`],
  ])
}

async function runOf(ledger: Ledger, job: JobView, attempts: readonly AttemptView[], attempt: AttemptView | undefined): Promise<Html> {
  const answer = html`<h3>Answer</h3>
    ${job.summary === null && job.result === null ? empty(isTerminal(job.status) ? 'It left no answer.' : 'No answer yet.') : ''}
    ${job.summary !== null && html`<p class="said">${said(job.summary, 8_000)}</p>`} ${job.result !== null && data(job.result, 'job-result')}`
  if (attempt === undefined) return html`${empty('It was not given to an agent yet.')}${answer}`
  const prompt = await ledger.getPrompt(attempt.id).catch((error: unknown) => {
    // Retention may have taken the prompt; the attempt stays.
    if (error instanceof AgentbusError && (error.code === 'AGENTBUS_PRUNED' || error.status === 404)) return undefined
    throw error
  })
  // They end with the newest; one that is further back and asked for stands before them.
  const others = attempts.slice(-50)
  return html`${others.length > 1 && html`<nav class="switch" aria-label="Attempts">${others.map((one) => html`<a href="${link(`/console/jobs/${job.id}`, { attempt: one.attempt_no })}" ${one === attempt ? html`aria-current="true"` : ''}>try ${one.attempt_no}: ${one.status}</a>`)}</nav>`}
    ${facts([
      ['Attempt', `${attempt.attempt_no}: ${attempt.status}${attempt.burned ? '' : ', not counted'}`],
      ['Outcome', attempt.outcome_code?.replaceAll('_', ' ')],
      ['Worker', attempt.lease_owner],
      ['Gateway', attempt.gateway_id],
      ['Leased', html`${moment(attempt.leased_at)} <span class="dim">until ${moment(attempt.leased_until)}</span>`],
      ['Run', attempt.openclaw_task_ref ?? undefined],
      ['Error', attempt.error === null ? undefined : said(attempt.error, 2_000)],
      ['Said', attempt.summary === null ? undefined : said(attempt.summary, 2_000)],
    ])}
    <h3>Prompt</h3>
    ${prompt === undefined ? empty('The prompt is not kept any more.') : folded(`prompt-${attempt.attempt_no}`, `What the agent was sent, ${prompt.bytes.toLocaleString('en')} bytes, without its token`, verbatim(prompt.body, 'prompt-text'))}
    ${answer}`
}

const RELATIONS: Readonly<Record<Relative['relation'], string>> = { parent: 'comes from', child: 'led to', needs: 'needs', needed_by: 'is needed by' }

function lineage(job: JobView, around: JobSurroundings): Html {
  const event = job.source_event_id === null ? '' : html`<p>A reaction to event ${job.source_event_id}, ${job.hops} ${job.hops === 1 ? 'hop' : 'hops'} from the first.</p>`
  if (around.relatives.length === 0) return html`${event}${empty('It stands alone: nothing led to it, and nothing came of it.')}`
  const rows = around.relatives.map((one) => [
    `${RELATIONS[one.relation]}${one.relation === 'parent' && one.distance > 1 ? `, ${one.distance} above` : ''}`,
    jobLink(one.id, one.subject),
    jobBadge(one.status),
    agentLink(one.target_agent),
  ])
  const cut =
    around.more_relatives && html`<p class="dim">The first ${SURROUNDINGS_SHOWN} of each kind. <a href="${link('/console/jobs', { parent: job.id })}">All that it led to</a></p>`
  return html`${event}${table('Related jobs', [{ name: 'This job' }, { name: 'Job' }, { name: 'Status' }, { name: 'Agent' }], rows)}${cut}`
}

function decided({ approvals, findings }: JobSurroundings): Html {
  if (approvals.length === 0 && findings.length === 0) return empty('Nobody was asked, and nothing was reported.')
  const asked = approvals.map((one) => [
    said(one.subject, 120),
    one.status,
    one.decided_by ?? html`<span class="dim">nobody yet</span>`,
    said(one.note, 200),
    moment(one.decided_at ?? one.created_at),
  ])
  const filed = findings.map((one) => [one.level, said(one.topic, 60), said(one.body, 200), one.agent_id, one.status, moment(one.at)])
  return html`${asked.length > 0 && table('Approvals', [{ name: 'Approval' }, { name: 'Status' }, { name: 'By' }, { name: 'Note' }, { name: 'When' }], asked)}
  ${filed.length > 0 && table('Findings', [{ name: 'Level' }, { name: 'Topic' }, { name: 'Finding' }, { name: 'To' }, { name: 'Status' }, { name: 'When' }], filed)}`
}

function history(job: JobView, transitions: readonly HistoryRow[]): Html {
  const rows = transitions.map((row) => [
    String(row.seq),
    moment(row.at),
    row.kind === 'move' ? html`${row.from_status !== null && html`${row.from_status} → `}${jobBadge(row.to_status)}` : html`<span class="dim">note</span>`,
    row.reason.replaceAll('_', ' '),
    html`${row.actor_kind} ${said(row.actor, 60)}`,
    html`${said(row.note, 200)}${detailsOf(row)}`,
  ])
  const columns = [{ name: '#', number: true }, { name: 'When' }, { name: 'Move' }, { name: 'Why' }, { name: 'By' }, { name: 'Note' }]
  // The version is the number of the newest row, and none is left out.
  const cut = job.version > HISTORY_SHOWN && html`<p class="dim">The last ${count(HISTORY_SHOWN)} of ${count(job.version)} rows.</p>`
  return html`${cut}${table('Rows of the history', columns, rows)}`
}

function detailsOf({ seq, details }: HistoryRow): Part {
  if (details === null) return html` <span class="dim">Its details are too large for this page; the history over REST has them.</span>`
  return Object.keys(details).length > 0 && folded(`seq-${seq}`, 'details', data(details, `seq-${seq}-text`))
}

function observed(rows: readonly Observed[]): Html {
  return table(
    'Observations',
    [{ name: 'When' }, { name: 'What' }, { name: 'By' }, { name: 'Detail' }],
    rows.map((row) => [moment(row.at), `${row.kind.replaceAll('_', ' ')}: ${row.code}`, html`${row.actor_kind} ${said(row.actor, 60)}`, said(row.detail, 300)]),
  )
}
