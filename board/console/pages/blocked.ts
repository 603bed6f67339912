import { z } from 'zod'
import type { ApprovalView } from '../../../contracts/approvals.js'
import { AgentId } from '../../../contracts/ids.js'
import type { JobView } from '../../../contracts/jobs.js'
import { queryOf, type PageHandler } from '../deps.js'
import { actionForm } from '../forms.js'
import { html, link, type Html } from '../html.js'
import { data, folded } from '../pieces.js'
import { agentLink, ago, empty, field, jobLink, said } from '../parts.js'

const Query = z.object({ agent: AgentId.optional(), cursor: z.string().max(200).optional(), after: z.string().max(200).optional() })
const PAGE = 25

/** What waits for a person: decisions first, then work that is blocked, each longest first. */
export const blockedPage: PageHandler = async (input, { ledger, nowMs }) => {
  const query = queryOf(Query, input.query)
  const approvals = await ledger.console.approvals({ limit: PAGE, cursor: query.after })
  const blocked = await ledger.listBlocked({
    limit: PAGE,
    ...(query.agent === undefined ? {} : { agent: query.agent }),
    ...(query.cursor === undefined ? {} : { cursor: query.cursor }),
  })
  return {
    title: 'Blocked work and approvals',
    tools: html`<form class="filters" method="get" action="/console/blocked">${field('Blocked jobs of agent', 'agent', query.agent)}<button type="submit">Show</button></form>`,
    main: html`<section id="approvals" data-live aria-labelledby="approvals-title">
        <h2 id="approvals-title">To decide, longest first</h2>
        ${
          approvals.items.length === 0
            ? empty('Nothing waits for a decision.')
            : html`<ul class="items">
                ${approvals.items.map((one) => approvalItem(one, nowMs))}
              </ul>`
        }
        ${approvals.next_cursor !== null && html`<nav class="pager" aria-label="Pages of approvals"><a class="button" href="${link('/console/blocked', { agent: query.agent, after: approvals.next_cursor })}">More</a></nav>`}
      </section>
      <section id="blocked" data-live aria-labelledby="blocked-title">
        <h2 id="blocked-title">Blocked, longest first</h2>
        ${
          blocked.items.length === 0
            ? empty(query.agent === undefined ? 'No work is blocked.' : `No work of ${query.agent} is blocked.`)
            : html`<ul class="items">
                ${blocked.items.map((job) => blockedItem(job, nowMs))}
              </ul>`
        }
        ${blocked.next_cursor !== null && html`<nav class="pager" aria-label="Pages of blocked work"><a class="button" href="${link('/console/blocked', { agent: query.agent, cursor: blocked.next_cursor })}">More</a></nav>`}
      </section>`,
  }
}

function approvalItem(one: ApprovalView, nowMs: number): Html {
  const decision = (to: 'approve' | 'reject'): Html =>
    actionForm({
      id: `${to}-${one.id}`,
      action: to,
      hidden: { id: one.id },
      label: to === 'approve' ? 'Approve…' : 'Deny…',
      title: to === 'approve' ? 'Approve' : 'Deny',
      explain: one.subject.length > 300 ? `${one.subject.slice(0, 300)}…` : one.subject,
      submit: to === 'approve' ? 'Approve' : 'Deny',
      tone: to === 'approve' ? 'good' : 'bad',
      reasonLabel: 'Note',
    })
  return html`<li class="item" id="approval-${one.id}">
    <div class="what">
      <h3>${said(one.subject, 300)}</h3>
      <p class="dim">
        ${one.agent === null ? said(one.created_by, 80) : html`asked by ${agentLink(one.agent)}`} ${ago(one.created_at, nowMs)}
        ago${one.job_id !== null && html` · <a href="/console/jobs/${one.job_id}">its job</a>`}${one.step !== null && html` · step ${said(one.step, 60)} of a workflow`}${one.expires_at !== null && html` · expires at ${one.expires_at.slice(0, 16).replace('T', ' ')}`}
      </p>
      ${Object.keys(one.details).length > 0 && folded(`details-${one.id}`, 'Details', data(one.details, `details-${one.id}-text`))}
    </div>
    <div class="buttons">${decision('approve')}${decision('reject')}</div>
  </li>`
}

const WAITS: Readonly<Record<string, string>> = { job: 'another job', event: 'an event', approval: 'a decision', agent: 'an agent', time: 'a time', person: 'a person' }

function blockedItem(job: JobView, nowMs: number): Html {
  const waits = typeof job.waits_for?.['kind'] === 'string' ? job.waits_for['kind'] : 'person'
  const on = waits === 'job' ? job.waits_for?.['job_id'] : waits === 'agent' ? job.waits_for?.['agent'] : waits === 'event' ? job.waits_for?.['topic'] : undefined
  return html`<li class="item" id="blocked-${job.id}">
    <div class="what">
      <h3>${jobLink(job.id, job.subject, 300)}</h3>
      <p>${said(job.blocked_reason, 400)}</p>
      <p class="dim">
        ${agentLink(job.target_agent)} · blocked for ${ago(job.blocked_at ?? job.updated_at, nowMs)} · waits for
        ${WAITS[waits] ?? waits}${typeof on === 'string' && html` (${said(on, 60)})`} · owner
        ${said(job.blocked_owner, 60)}${job.look_again_at !== null && html` · looks again at ${job.look_again_at.slice(0, 16).replace('T', ' ')}`}
      </p>
      ${job.unblock_action !== null && html`<p>Would unblock it: ${said(job.unblock_action, 400)}</p>`}
    </div>
    <div class="buttons">
      ${actionForm({
        id: `unblock-${job.id}`,
        action: 'unblock',
        hidden: { id: job.id },
        label: 'Unblock…',
        title: 'Answer and unblock',
        explain: 'The job is queued again, and its next attempt is told the answer.',
        submit: 'Unblock',
        tone: 'good',
        more: html`<label>Answer for the agent (text or a JSON object)<textarea name="answer" rows="3"></textarea></label>`,
      })}${actionForm({ id: `cancel-${job.id}`, action: 'cancel', hidden: { id: job.id }, label: 'Cancel…', title: 'Cancel this job', explain: 'It will not run any more.', submit: 'Cancel the job', tone: 'bad' })}
    </div>
  </li>`
}
