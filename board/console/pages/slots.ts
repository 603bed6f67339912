import { z } from 'zod'
import { SLOT_STATUSES, SlotId, SlotStatus, type SlotView } from '../../../contracts/standing-orders.js'
import { Time } from '../../../contracts/text.js'
import { idOf, queryOf, type PageHandler } from '../deps.js'
import { html, link, type Part } from '../html.js'
import { data, facts } from '../pieces.js'
import { agentLink, choice, empty, field, jobLink, moment, said, slotBadge, span, table } from '../parts.js'

const Query = z.object({ order: z.string().max(200).optional(), status: SlotStatus.optional(), from: Time.optional(), to: Time.optional(), cursor: z.string().max(200).optional() })
const PAGE = 50

/** Slots of an order, or of all, newest first. */
export const slotsPage: PageHandler = async (input, { ledger }) => {
  const { cursor, ...query } = queryOf(Query, input.query)
  const given = Object.fromEntries(Object.entries({ ...query, cursor }).filter(([, value]) => value !== undefined))
  const { items, next_cursor: next } = await ledger.listSlots({ limit: PAGE, ...given })
  return {
    title: query.order === undefined ? 'Slots' : `Slots of ${query.order}`,
    everySeconds: 10,
    tools: html`<form class="filters" method="get" action="/console/slots">
      ${field('Order', 'order', query.order, { placeholder: 'agent/name' })}
      ${choice('Outcome', 'status', query.status, [['', 'any'], ...SLOT_STATUSES.map((one) => [one, one] as const)])}
      ${query.from !== undefined && html`<input type="hidden" name="from" value="${query.from}" />`}${query.to !== undefined && html`<input type="hidden" name="to" value="${query.to}" />`}
      <button type="submit">Show</button>
    </form>`,
    main: html`<p><a href="/console/accountability">Accountability</a></p>
      <section id="slots" data-live aria-label="Slots">
        ${items.length === 0 ? empty('No slot fits.') : table('Slots, newest first', COLUMNS, items.map(rowOf))}
        ${next !== null && html`<nav class="pager" aria-label="Pages of slots"><a class="button" rel="next" href="${link('/console/slots', { ...query, cursor: next })}">Older</a></nav>`}
      </section>`,
  }
}

const COLUMNS = [{ name: 'Due' }, { name: 'Order' }, { name: 'Outcome' }, { name: 'Why' }, { name: 'Said' }, { name: 'Run' }]

function rowOf(slot: SlotView): Part[] {
  return [
    html`<a href="/console/slots/${slot.id}">${moment(slot.slot_at)}</a>`,
    slot.order,
    html`${slotBadge(slot.status)}${slot.unstated && html` <span class="dim">not stated by the agent</span>`}`,
    slot.cause?.replaceAll('_', ' ') ?? html`<span class="dim">–</span>`,
    said(slot.summary, 120),
    slot.job_id === null ? html`<span class="dim">no run</span>` : jobLink(slot.job_id, 'its job'),
  ]
}

/** One slot with its run, its evidence and every move of it. */
export const slotPage: PageHandler = async (input, { ledger }) => {
  const { slot, transitions } = await ledger.slotHistory(idOf(SlotId, input.params['id']))
  const late = slot.started_at === null ? undefined : (Date.parse(slot.started_at) - Date.parse(slot.slot_at)) / 1_000
  const took = slot.started_at === null || slot.finished_at === null ? undefined : (Date.parse(slot.finished_at) - Date.parse(slot.started_at)) / 1_000
  return {
    title: slot.order,
    tools: slotBadge(slot.status),
    main: html`<p><a href="/console/accountability">Accountability</a> · <a href="${link('/console/slots', { order: slot.order })}">all slots of this order</a></p>
      <section id="slot" data-live aria-label="The slot">
        ${facts([
          ['Due', moment(slot.slot_at)],
          ['In time until', moment(slot.grace_until)],
          ['Agent', agentLink(slot.agent_id)],
          ['Why', slot.cause?.replaceAll('_', ' ')],
          ['Started', slot.started_at === null ? undefined : html`${moment(slot.started_at)} <span class="dim">${span(late ?? 0)} after it was due, by ${slot.trigger}</span>`],
          ['Finished', slot.finished_at === null ? undefined : html`${moment(slot.finished_at)} ${took !== undefined && html`<span class="dim">after ${span(took)}</span>`}`],
          ['Run', slot.job_id === null ? 'none' : jobLink(slot.job_id, `job ${slot.job_id}`)],
          ['Order', `version ${slot.version}`],
        ])}
        <h2>What the agent said</h2>
        <p class="said">${said(slot.summary, 8_000)}</p>
        <h2>Evidence</h2>
        ${slot.evidence === null ? empty('No evidence was sent.') : data(slot.evidence, 'slot-evidence')}
        ${
          Object.keys(slot.details).length > 0 &&
          html`<h2>Details</h2>
            ${data(slot.details, 'slot-details')}`
        }
        <h2>Moves</h2>
        ${table(
          'Every move of the slot',
          [{ name: '#', number: true }, { name: 'When' }, { name: 'From' }, { name: 'To' }, { name: 'Why' }, { name: 'By' }],
          transitions.map((row) => [
            String(row['seq']),
            moment(String(row['at'])),
            String(row['from_status']),
            slotBadge(SlotStatus.parse(row['to_status'])),
            row['cause'] === null ? html`<span class="dim">–</span>` : String(row['cause']).replaceAll('_', ' '),
            html`${String(row['actor_kind'])} ${said(String(row['actor']), 60)}`,
          ]),
        )}
      </section>`,
  }
}
