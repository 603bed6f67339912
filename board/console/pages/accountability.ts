import { z } from 'zod'
import { AgentId } from '../../../contracts/ids.js'
import { SLOT_STATUSES, type SlotStatus } from '../../../contracts/standing-orders.js'
import type { GridCell, GridLine } from '../../../ledger/console/slot-grid.js'
import { queryOf, type PageHandler } from '../deps.js'
import { html, link, type Html } from '../html.js'
import { count, choice, empty, field, SLOT_MARKS, slotBadge, WINDOWS, windows } from '../parts.js'

const NAMES = ['6h', '24h', '3d', '7d'] as const
const Query = z.object({ window: z.enum(NAMES).default('24h'), agent: AgentId.optional(), only: z.literal('trouble').optional(), after: z.string().max(200).optional() })
/** Columns for each window: an even number of minutes each. */
const COLUMNS: Readonly<Record<(typeof NAMES)[number], number>> = { '6h': 24, '24h': 24, '3d': 24, '7d': 28 }
const ORDERS = 50
/** What a cell is coloured by when several things happened in it: the one that needs a person most. */
const WORST: readonly SlotStatus[] = ['missed', 'failed', 'blocked', 'started', 'expected', 'skipped', 'completed', 'no_work']

/** Orders by time: what became of every slot. */
export const accountabilityPage: PageHandler = async (input, { ledger, nowMs }) => {
  const query = queryOf(Query, input.query)
  const lengthMs = WINDOWS[query.window] ?? 86_400_000
  const columns = COLUMNS[query.window]
  const widthMs = lengthMs / columns
  // The last column holds this moment, and columns begin at even times.
  const toMs = (Math.floor(nowMs / widthMs) + 1) * widthMs
  const fromMs = toMs - lengthMs
  const { lines, next_after: after } = await ledger.console.grid({
    agent: query.agent,
    trouble: query.only === 'trouble',
    fromMs,
    toMs,
    columns,
    after: query.after,
    limit: ORDERS,
  })
  const filters = { window: query.window, agent: query.agent, only: query.only }
  return {
    title: 'Accountability',
    everySeconds: 10,
    tools: html`${windows('/console/accountability', { agent: query.agent, only: query.only }, query.window, NAMES)}
      <form class="filters" method="get" action="/console/accountability">
        <input type="hidden" name="window" value="${query.window}" />
        ${field('Agent', 'agent', query.agent)}
        ${choice('Orders', 'only', query.only, [
          ['', 'all'],
          ['trouble', 'with trouble'],
        ])} <button type="submit">Show</button>
      </form>`,
    main: html`<ul class="legend" aria-label="What the signs mean">
        ${SLOT_STATUSES.map((status) => html`<li>${slotBadge(status)}</li>`)}
      </ul>
      <section id="grid" data-live aria-label="Orders by time">
        ${lines.length === 0 ? empty(query.only === 'trouble' ? 'No order had trouble in this window.' : 'No standing order fits.') : grid(lines, { fromMs, widthMs, columns, nowMs })}
        ${after !== null && html`<nav class="pager" aria-label="Pages of orders"><a class="button" rel="next" href="${link('/console/accountability', { ...filters, after })}">More orders</a></nav>`}
      </section>`,
  }
}

interface Scale {
  readonly fromMs: number
  readonly widthMs: number
  readonly columns: number
  readonly nowMs: number
}

const timeOf = (ms: number): string => new Date(ms).toISOString()

function grid(lines: readonly GridLine[], scale: Scale): Html {
  const columns = Array.from({ length: scale.columns }, (_, at) => scale.fromMs + at * scale.widthMs)
  const isDaily = scale.widthMs >= 3 * 3_600_000
  const heads = columns.map((ms, at) => {
    const time = timeOf(ms)
    const shown = at % 4 === 0 || at === 0 ? (isDaily ? `${time.slice(5, 10)} ${time.slice(11, 13)}h` : time.slice(11, 16)) : ''
    return html`<th scope="col" class="tick"><span class="unseen">${time.slice(5, 16).replace('T', ' ')}</span><span aria-hidden="true">${shown}</span></th>`
  })
  const rows = lines.map(({ order, enabled, cells }) => {
    const byColumn = new Map(cells.map((cell) => [cell.column, cell]))
    return html`<tr>
      <th scope="row"><a href="${link('/console/slots', { order })}">${order}</a>${!enabled && html` <span class="dim">disabled</span>`}</th>
      ${columns.map((ms, at) => cellOf(byColumn.get(at), { order, fromMs: ms, toMs: ms + scale.widthMs }))}
    </tr>`
  })
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Grid of orders and times" id="grid-scroll">
    <table class="grid">
      <caption class="unseen">
        What became of every slot. Columns are times, rows are orders.
      </caption>
      <thead>
        <tr>
          <th scope="col" class="corner">Order</th>
          ${heads}
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>
  </div>`
}

function cellOf(cell: GridCell | undefined, where: { readonly order: string; readonly fromMs: number; readonly toMs: number }): Html {
  if (cell === undefined) return html`<td></td>`
  const worst = WORST.find((status) => cell.counts[status] !== undefined) ?? 'expected'
  const total = Object.values(cell.counts).reduce((sum, n) => sum + n, 0)
  const words = WORST.flatMap((status) => (cell.counts[status] === undefined ? [] : [`${count(cell.counts[status])} ${SLOT_MARKS[status].words}`])).join(', ')
  const to = cell.slot_id === null ? link('/console/slots', { order: where.order, from: timeOf(where.fromMs), to: timeOf(where.toMs) }) : `/console/slots/${cell.slot_id}`
  const label = `${where.order} ${timeOf(where.fromMs).slice(5, 16).replace('T', ' ')}: ${words}`
  const { sign, tone } = SLOT_MARKS[worst]
  return html`<td>
    <a class="cell ${tone} s-${worst}" href="${to}" title="${label}" aria-label="${label}"
      ><span aria-hidden="true">${sign}${total > 1 && html`<sub>${total > 99 ? '99+' : total}</sub>`}</span></a
    >
  </td>`
}
