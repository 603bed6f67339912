import { z } from 'zod'
import { HISTORY_BUDGET, LATENCY_SAMPLE, type DepthPoint, type LaneLine, type Snapshot } from '../../../ledger/console/health-board.js'
import { areaChart, barChart } from '../charts.js'
import { queryOf, type PageHandler } from '../deps.js'
import { html, link, type Html, type Part } from '../html.js'
import { folded } from '../pieces.js'
import { alertSection } from './health-alerts.js'
import { latencySection } from './health-latency.js'
import { snapshotSection } from './health-snapshot.js'
import { ago, badge, count, empty, moment, said, span, table, WINDOWS, windows } from '../parts.js'

const NAMES = ['1h', '6h', '24h'] as const
const Query = z.object({ window: z.enum(NAMES).default('6h') })
const POINTS = 48

/** Whether the bus does its work: what is open, how old it is, how long things take, and who is there to do it. */
export const healthPage: PageHandler = async (input, { ledger, nowMs }) => {
  const { window } = queryOf(Query, input.query)
  const { alerts, namespaces, now, depth, lanes, latency } = await ledger.console.health({ fromMs: nowMs - (WINDOWS[window] ?? 21_600_000), toMs: nowMs, columns: POINTS })
  return {
    title: 'Health',
    everySeconds: 10,
    tools: windows('/console/health', {}, window, NAMES),
    main: html`${alertSection(alerts, nowMs)}
      <section id="health-now" data-live aria-labelledby="now-title">
        <h2 id="now-title">Now</h2>
        ${tiles(now, nowMs)}
      </section>
      ${snapshotSection(namespaces, nowMs)}
      <section id="health-depth" data-live aria-labelledby="depth-title">
        <h2 id="depth-title">Open jobs, last ${window}</h2>
        ${overTime(depth.points)} ${depth.cut && html`<p class="dim">Read from the newest ${count(HISTORY_BUDGET)} rows of history, which is less than the window.</p>`}
      </section>
      ${latencySection(latency, window)}
      <section id="health-lanes" data-live aria-labelledby="lanes-title">
        <h2 id="lanes-title">Lanes, last ${window}</h2>
        <p class="dim">
          Done and not done: what ended in the window. Times are those of the ${count(LATENCY_SAMPLE)} of each lane that ended last: half, 95 of 100 and 99 of 100 took no
          longer.${lanes.cut && ` What was created and what ended is read from the newest ${count(HISTORY_BUDGET)} rows of history, which is less than the window.`}
        </p>
        ${table(
          'Lanes',
          LANE_COLUMNS,
          lanes.lines.map((lane) => laneRow(lane, nowMs)),
        )}
      </section>
      <section id="health-parts" data-live aria-labelledby="parts-title">
        <h2 id="parts-title">Workers and gateways</h2>
        ${parts(now, nowMs)}
      </section>`,
  }
}

function tiles(now: Snapshot, nowMs: number): Html {
  const of = (status: string): number => now.by_status[status] ?? 0
  const since = (at: string | null): Part => (at === null ? 'none' : ago(at, nowMs))
  const stale = now.workers.filter((worker) => worker.health === 'stale').length
  const items: { readonly name: string; readonly value: Part; readonly note?: Part; readonly bad?: boolean; readonly to?: string }[] = [
    { name: 'Queued', value: count(of('queued')), note: html`oldest due: ${since(now.oldest_queued_at)}`, to: link('/console/jobs', { status: 'queued' }) },
    {
      name: 'Running',
      value: count(of('running')),
      note: `${count(of('leased'))} leased, ${count(of('waiting'))} wait for other jobs`,
      to: link('/console/jobs', { status: 'running' }),
    },
    { name: 'Blocked', value: count(of('blocked')), note: html`longest: ${since(now.oldest_blocked_at)}`, to: '/console/blocked' },
    { name: 'Leases run out', value: count(now.stuck), note: 'the reaper takes them within seconds', bad: now.stuck > 0 },
    {
      name: 'To publish',
      value: count(now.outbox),
      note: html`oldest: ${since(now.outbox_oldest_at)}`,
      bad: now.outbox_oldest_at !== null && nowMs - Date.parse(now.outbox_oldest_at) > 60_000,
    },
    { name: 'Workers', value: count(now.workers.length - stale), note: stale === 0 ? 'all are seen' : `${stale} not seen for 20 s`, bad: stale > 0 || now.workers.length === 0 },
    {
      name: 'Breakers open',
      value: count(now.gateways.filter((gateway) => gateway.breaker === 'open').length),
      note: `of ${count(now.gateways.length)} gateways`,
      bad: now.gateways.some((gateway) => gateway.breaker === 'open'),
    },
    ...(now.epoch === null ? [] : [{ name: 'Queue rebuilds', value: count(now.epoch.rebuilds), note: html`marked ${ago(now.epoch.ticked_at, nowMs)} ago` }]),
  ]
  return html`<ul class="tiles">
    ${items.map(
      (item) =>
        html`<li class="panel ${item.bad === true ? 'bad' : ''}">
          ${item.to === undefined ? html`<span class="name">${item.name}</span>` : html`<a class="name" href="${item.to}">${item.name}</a>`}<strong>${item.value}</strong>${item.bad === true && html` <span class="flag">needs a look</span>`}<span
            class="dim"
            >${item.note ?? ''}</span
          >
        </li>`,
    )}
  </ul>`
}

function overTime(points: readonly DepthPoint[]): Html {
  if (points.length < 2) return empty('There is no history in this window yet.')
  const at = points.map((point) => point.at)
  const rows = points.map((point) => [moment(point.at), count(point.open), count(point.created), count(point.closed)])
  return html`<div class="panel">
      <h3>Depth: open jobs</h3>
      ${areaChart({ label: `Open jobs over time, now ${count(points.at(-1)?.open ?? 0)}, at most ${count(Math.max(...points.map((point) => point.open)))}`, at, values: points.map((point) => point.open) })}
    </div>
    <div class="panel">
      <h3>Throughput <span class="key first">opened</span> <span class="key second">closed</span></h3>
      ${barChart({ label: 'Jobs opened and closed over time', at, values: points.map((point) => point.created) }, { label: 'closed', values: points.map((point) => point.closed) })}
    </div>
    ${folded('depth-table', 'The same as a table', table('Depth and throughput over time', [{ name: 'Until' }, { name: 'Open', number: true }, { name: 'Opened', number: true }, { name: 'Closed', number: true }], rows))}`
}

const LANE_COLUMNS = [
  { name: 'Lane' },
  { name: 'Queued', number: true },
  { name: 'In hand', number: true },
  { name: 'Oldest due', number: true },
  { name: 'Created', number: true },
  { name: 'Done', number: true },
  { name: 'Not done', number: true },
  { name: 'Wait 50 / 95 / 99', number: true },
  { name: 'Whole time 50 / 95 / 99', number: true },
]

function laneRow(lane: LaneLine, nowMs: number): Part[] {
  const times = (list: readonly number[] | null): Part => (list === null ? html`<span class="dim">–</span>` : list.map((seconds) => span(seconds)).join(' / '))
  return [
    html`${lane.lane}${lane.paused && html` ${badge({ sign: '‖', tone: 'warn', words: 'paused' })}`}`,
    count(lane.queued),
    count(lane.running),
    lane.oldest_at === null ? html`<span class="dim">–</span>` : ago(lane.oldest_at, nowMs),
    count(lane.created),
    count(lane.succeeded),
    lane.failed === 0 ? '0' : html`<span class="bad">${count(lane.failed)}</span>`,
    times(lane.wait),
    times(lane.total),
  ]
}

function parts(now: Snapshot, nowMs: number): Html {
  const workers = now.workers.map((worker) => [
    worker.id,
    worker.host,
    worker.health === 'alive' ? badge({ sign: '✓', tone: 'good', words: 'alive' }) : badge({ sign: '✗', tone: 'bad', words: worker.health }),
    html`${ago(worker.last_seen, nowMs)} ago`,
    count(worker.leases),
  ])
  const gateways = now.gateways.map((gateway) => [
    gateway.id,
    gateway.breaker === 'closed' ? badge({ sign: '✓', tone: 'good', words: 'breaker closed' }) : badge({ sign: '✗', tone: 'bad', words: 'breaker open' }),
    said(gateway.breaker_reason, 160),
    gateway.last_ready_at === null ? html`<span class="dim">never</span>` : html`${ago(gateway.last_ready_at, nowMs)} ago`,
  ])
  return html`${workers.length === 0 ? empty('No worker was seen in the last day.') : table('Workers', [{ name: 'Worker' }, { name: 'Host' }, { name: 'Health' }, { name: 'Seen' }, { name: 'Leases', number: true }], workers)}
  ${gateways.length === 0 ? empty('No gateway yet.') : table('Gateways', [{ name: 'Gateway' }, { name: 'Breaker' }, { name: 'Why' }, { name: 'Ready' }], gateways)}`
}
