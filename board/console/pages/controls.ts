import { z } from 'zod'
import type { ControlChangeView, ControlView } from '../../../contracts/controls.js'
import { LANES } from '../../../contracts/job-states.js'
import { actionBadge, hiddenWait, nameOf } from '../control-parts.js'
import { queryOf, type PageHandler } from '../deps.js'
import { actionForm, onceOnly, reasonField } from '../forms.js'
import { html, link, type Html, type Part } from '../html.js'
import { ago, choice, count, empty, field, moment, said, table } from '../parts.js'

const Query = z.object({ cursor: z.string().max(20).optional() })
const PAGE = 30

/** What is stopped now, and the means to stop and start: everything, a part, a flow. */
export const controlsPage: PageHandler = async (input, { ledger, nowMs }) => {
  const query = queryOf(Query, input.query)
  const inForce = await ledger.listControls()
  const changes = await ledger.listControlChanges({ limit: PAGE, ...(query.cursor === undefined ? {} : { cursor: query.cursor }) })
  const targets = await targetsOf(ledger)
  return {
    title: 'Controls',
    main: html`<section id="in-force" data-live aria-labelledby="in-force-title">
        <h2 id="in-force-title">In force</h2>
        ${
          inForce.length === 0
            ? empty('Nothing is stopped.')
            : html`<ul class="items">
                ${inForce.map((one) => item(one, nowMs))}
              </ul>`
        }
      </section>
      <div class="columns">
        <section aria-labelledby="stop-title" class="panel">${stopForm(targets)}</section>
        <section aria-labelledby="flow-title" class="panel">${flowForm()}</section>
        <section aria-labelledby="force-title" class="panel">${forceForm()}</section>
      </div>
      <section id="changes" data-live aria-labelledby="changes-title">
        <h2 id="changes-title">History</h2>
        ${changes.items.length === 0 ? empty('Nothing was stopped yet.') : table('What was stopped and started again', COLUMNS, changes.items.map(changeRow))}
        ${changes.next_cursor !== null && html`<nav class="pager" aria-label="Pages of the history"><a class="button" rel="next" href="${link('/console/controls', { cursor: changes.next_cursor })}">Older</a></nav>`}
      </section>`,
  }
}

async function targetsOf(ledger: Parameters<PageHandler>[1]['ledger']): Promise<string[]> {
  const agents = (await ledger.listAgents()).map((agent) => agent.id)
  const gateways = (await ledger.listGateways()).map((gateway) => gateway.id)
  const orders = (await ledger.listOrders()).map((order) => order.order)
  return [...new Set([...LANES, ...agents, ...gateways, ...orders])]
}

function item(one: ControlView, nowMs: number): Html {
  const running = hiddenWait(one, nowMs) ?? runningWords(one)
  return html`<li class="item" id="control-${String(one.id)}">
    <div class="what">
      <h3>${actionBadge(one)} ${nameOf(one)}</h3>
      <p>${said(one.reason, 400)}</p>
      <p class="dim">
        by ${said(one.by, 80)} ${ago(one.since, nowMs)} ago ·
        ${one.until === null ? 'until somebody ends it' : html`until ${moment(one.until)}`}${running !== '' && html` · ${running}`}${one.drained_at !== null && html` · drained at ${moment(one.drained_at)}`}
      </p>
    </div>
    <div class="buttons">
      ${actionForm({
        id: `resume-${one.id}`,
        action: 'resume',
        hidden: { scope: one.scope, target: one.target ?? '' },
        label: one.action === 'freeze' ? 'Unfreeze…' : 'Resume…',
        title: `${one.action === 'freeze' ? 'Unfreeze' : 'Resume'} ${nameOf(one)}`,
        explain: 'What was held starts by itself, as far as nothing else holds it.',
        submit: one.action === 'freeze' ? 'Unfreeze' : 'Resume',
        tone: 'good',
      })}
    </div>
  </li>`
}

function runningWords({ still_running: running }: ControlView): string {
  if (running === null) return ''
  return running === 0 ? 'nothing of it runs any more' : `${count(running)} still running`
}

const SCOPES = [
  ['pause everything', 'Pause everything'],
  ['pause lane', 'Pause a lane'],
  ['pause agent', 'Pause an agent'],
  ['pause gateway', 'Pause a gateway'],
  ['pause order', 'Pause a standing order'],
  ['drain agent', 'Drain an agent'],
  ['freeze promotions', 'Freeze promotions'],
  ['freeze conversions', 'Freeze conversions'],
] as const

const ENDS = [
  ['', 'until somebody ends it'],
  ['900', '15 minutes'],
  ['3600', '1 hour'],
  ['14400', '4 hours'],
  ['86400', '1 day'],
  ['604800', '1 week'],
] as const

function stopForm(targets: readonly string[]): Html {
  return html`<h2 id="stop-title">Stop work</h2>
    <form method="post" action="/console/actions/stop" data-action class="stacked" aria-labelledby="stop-title">
      ${onceOnly()} ${choice('What', 'what', undefined, SCOPES)}
      <label
        >Which lane, agent, gateway or order<input name="target" list="targets" maxlength="200" spellcheck="false" autocomplete="off" placeholder="only where it is one of many"
      /></label>
      <datalist id="targets">${targets.map((target) => html`<option value="${target}"></option>`)}</datalist>
      ${choice('For how long', 'for_seconds', undefined, ENDS)}
      ${choice('What runs already', 'running', undefined, [
        ['leave', 'goes on to its end'],
        ['cancel', 'is cancelled (pause only)'],
      ])}
      <label class="check"><input type="checkbox" name="replace" value="yes" />in the place of one that is in force there</label>
      ${reasonField()}
      <p class="problem" role="alert"></p>
      <div class="buttons"><button type="submit" class="primary bad">Stop</button></div>
    </form>`
}

function flowForm(): Html {
  return html`<h2 id="flow-title">Cancel a flow</h2>
    <form method="post" action="/console/actions/cancel-flow" data-action class="stacked" aria-labelledby="flow-title">
      ${onceOnly()}
      ${choice('All jobs of', 'by', undefined, [
        ['correlation_key', 'a correlation key'],
        ['flow_key', 'a flow key'],
        ['workflow_run_id', 'a workflow run'],
        ['job_id', 'a job with all that descends from it'],
      ])}
      ${field('Key or id', 'value', undefined)} ${field('Namespace, for a key', 'namespace', undefined, { placeholder: 'default' })}
      ${choice('What runs already', 'running', undefined, [
        ['leave', 'goes on to its end'],
        ['cancel', 'is cancelled'],
      ])}
      ${reasonField()}
      <p class="problem" role="alert"></p>
      <div class="buttons"><button type="submit" class="primary bad">Cancel the flow</button></div>
    </form>`
}

function forceForm(): Html {
  return html`<h2 id="force-title">One job</h2>
    <form method="post" action="/console/actions/cancel" data-action class="stacked" aria-labelledby="force-title">
      ${onceOnly()} ${field('Id of the job', 'id', undefined)} ${reasonField()}
      <p class="problem" role="alert"></p>
      <div class="buttons">
        <button type="submit" class="bad">Cancel</button>
        <button type="submit" formaction="/console/actions/force-retry">Force retry</button>
        <button type="submit" formaction="/console/actions/force-dead" class="bad">Force dead</button>
      </div>
    </form>
    <p class="dim">The page of each job has the same, beside what is known of it.</p>`
}

const COLUMNS = [{ name: 'When' }, { name: 'Change' }, { name: 'What' }, { name: 'Until' }, { name: 'By' }, { name: 'Reason' }]

function changeRow(row: ControlChangeView): Part[] {
  return [
    moment(row.at),
    row.change.replaceAll('_', ' '),
    `${row.action} ${nameOf(row)}`,
    row.until === null ? html`<span class="dim">–</span>` : moment(row.until),
    html`${row.actor_kind} ${said(row.actor, 60)}`,
    said(row.reason, 200),
  ]
}
