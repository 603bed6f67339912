import { z } from 'zod'
import { AGENT_STATES } from '../../../contracts/agents.js'
import type { FleetLine } from '../../../ledger/console/fleet-board.js'
import { controlStrip, hiddenWait, nameOf, stateBadge } from '../control-parts.js'
import { queryOf, type PageHandler } from '../deps.js'
import { clip, html, link, type Html, type Part } from '../html.js'
import { agentBadge, ago, badge, choice, count, empty, field, jobBadge, jobLink, span, table } from '../parts.js'

const Query = z.object({ state: z.enum(AGENT_STATES).optional(), q: z.string().max(100).optional() })

/** Every agent: what it does, what waits for it, and what went wrong last. */
export const fleetPage: PageHandler = async (input, { ledger, nowMs }) => {
  const query = queryOf(Query, input.query)
  const { lines, controls } = await ledger.console.fleet()
  const wanted = query.q?.toLowerCase()
  const shown = lines.filter(
    ({ agent }) =>
      (query.state === undefined || agent.state === query.state) && (wanted === undefined || `${agent.id} ${agent.role ?? ''} ${agent.gateway_id}`.toLowerCase().includes(wanted)),
  )
  const rows = shown.map((line) => rowOf(line, nowMs))
  return {
    title: 'Fleet',
    tools: html`<form class="filters" method="get" action="/">
      ${field('Agent, role or gateway', 'q', query.q)} ${choice('State', 'state', query.state, [['', 'any'], ...AGENT_STATES.map((state) => [state, state] as const)])}
      <button type="submit">Show</button>
    </form>`,
    main: html`<section id="fleet-sums" data-live aria-label="Sums">${sums(lines)}</section>
      <section id="fleet-controls" data-live aria-label="What is stopped">${controls.length > 0 && controlStrip(controls, STRIP)}</section>
      <section id="fleet" data-live aria-label="Agents">
        ${lines.length === 0 ? empty('No agent yet. Write a fleet file and run agentbus apply.') : rows.length === 0 ? empty('No agent fits these filters.') : table('Agents', COLUMNS, rows)}
      </section>`,
  }
}

/** So many controls are shown above the fleet; the page of controls has all of them. */
const STRIP = 6

const COLUMNS = [{ name: 'Agent' }, { name: 'State' }, { name: 'Doing now' }, { name: 'Queue by lane' }, { name: 'Last error' }, { name: 'Gateway' }]

function sums(lines: readonly FleetLine[]): Html {
  const sum = (of: (line: FleetLine) => number): number => lines.reduce((total, line) => total + of(line), 0)
  const inState = (state: string): number => lines.filter(({ agent }) => agent.state === state).length
  const inHand = (status: string): number => sum(({ current }) => current.filter((job) => job.status === status).length)
  const open = lines.filter(({ gateway }) => gateway?.breaker === 'open').length
  const items: [string, number, string][] = [
    ['agents', lines.length, '/'],
    ['working', inState('working'), link('/', { state: 'working' })],
    ['offline', inState('offline'), link('/', { state: 'offline' })],
    ['queued', sum(({ agent }) => agent.queued), link('/console/jobs', { status: 'queued' })],
    ['leased', inHand('leased'), link('/console/jobs', { status: 'leased' })],
    ['running', inHand('running'), link('/console/jobs', { status: 'running' })],
    ['blocked', sum(({ agent }) => agent.blocked), '/console/blocked'],
    ['paused or draining', lines.filter(({ stopped_by: stopped }) => stopped.length > 0).length, '/console/controls'],
    ['behind an open breaker', open, '/console/health'],
  ]
  return html`<ul class="sums">
    ${items.map(
      ([words, n, to]) =>
        html`<li>
          <a href="${to}"><strong>${count(n)}</strong> ${words}</a>
        </li>`,
    )}
  </ul>`
}

/** What keeps an agent from new work; one that is not its own names what it is on. */
function stops(line: FleetLine, nowMs: number): Html[] {
  return line.stopped_by.map(
    (one) =>
      html`<div>
        ${stateBadge(one)}${one.scope !== 'agent' && html` <span class="dim">with ${nameOf(one)}</span>`}${one.action === 'drain' && one.drained_at === null && html` <span class="dim">${hiddenWait(one, nowMs) ?? `${count(one.still_running ?? 0)} still running`}</span>`}
      </div>`,
  )
}

function rowOf(line: FleetLine, nowMs: number): Part[] {
  const { agent, depth, current, last_error: error, gateway } = line
  const queued = depth.map(
    ({ lane, queued: n, oldest_at }) =>
      html`<a
        class="chip"
        href="${link('/console/jobs', { agent: agent.id, lane, status: 'queued' })}"
        title="${oldest_at === null ? 'nothing is due yet' : `oldest due for ${span((nowMs - Date.parse(oldest_at)) / 1_000)}`}"
        >${lane} <strong>${count(n)}</strong></a
      >`,
  )
  return [
    html`<a class="name" href="${link('/console/jobs', { agent: agent.id })}">${agent.id}</a
      >${agent.role !== null && html`<div class="dim"><bdi>${clip(agent.role, 60)}</bdi></div>`}`,
    html`${agentBadge(agent.state)}${stops(line, nowMs)} ${agent.state_since !== null && html`<div class="dim">for ${ago(agent.state_since, nowMs)}</div>`}`,
    current.length === 0
      ? html`<span class="dim">–</span>`
      : html`<ul class="plain">
          ${current.slice(0, 3).map((job) => html`<li>${jobLink(job.job_id, job.subject, 60)} <span class="dim">${job.status === 'running' ? '' : jobBadge(job.status)} try ${job.attempt_no}, ${ago(job.since, nowMs)}</span></li>`)}
          ${current.length > 3 && html`<li class="dim">and ${current.length - 3} more</li>`}
        </ul>`,
    queued.length === 0 && agent.blocked === 0
      ? html`<span class="dim">–</span>`
      : html`<div class="chips">
          ${queued}${agent.blocked > 0 && html`<a class="chip warn" href="${link('/console/blocked', { agent: agent.id })}">■ blocked <strong>${count(agent.blocked)}</strong></a>`}
        </div>`,
    error === null
      ? html`<span class="dim">–</span>`
      : html`${jobLink(error.job_id, error.error, 70)}
          <div class="dim">${error.code?.replaceAll('_', ' ')} · ${ago(error.at, nowMs)} ago</div>`,
    html`<span>${agent.gateway_id}</span>
      <div>
        ${
          gateway?.breaker === 'open'
            ? html`${badge({ sign: '✗', tone: 'bad', words: 'breaker open' })} <span class="dim"><bdi>${clip(gateway.breaker_reason ?? '', 60)}</bdi></span>`
            : html`<span class="dim">breaker closed</span>`
        }
      </div>`,
  ]
}
