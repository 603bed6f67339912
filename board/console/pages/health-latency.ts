import { STEP_PARTS, STEP_ROWS, type LatencyPoint, type Took } from '../../../ledger/console/latency-over-time.js'
import { spanChart } from '../charts.js'
import { html, type Html, type Part } from '../html.js'
import { count, empty, moment, span, table } from '../parts.js'
import { folded } from '../pieces.js'

const COLUMNS = [{ name: 'Until' }, { name: 'Taken', number: true }, { name: 'Wait 50 / 95', number: true }, { name: 'Ended', number: true }, { name: 'Run 50 / 95', number: true }]

/** How long jobs waited and runs took, step by step: whether it gets slower, and since when. */
export function latencySection({ points, cut }: { readonly points: readonly LatencyPoint[]; readonly cut: boolean }, window: string): Html {
  return html`<section id="health-latency" data-live aria-labelledby="latency-title">
    <h2 id="latency-title">How long it took, last ${window}</h2>
    <p class="dim">
      Wait: from when a job was due until a worker took it, for each attempt taken in a step. Run: from when the gateway took it until it ended, for each run ended in a
      step.${cut && ` A step with more than ${count(STEP_ROWS)} rows of history is shown by a sample: the newest ${count(STEP_ROWS / STEP_PARTS)} of each of ${STEP_PARTS} parts.`}
    </p>
    ${points.every(({ wait, run }) => wait === null && run === null) ? empty('No worker took anything in this window, and no run ended.') : overTime(points)}
  </section>`
}

function overTime(points: readonly LatencyPoint[]): Html {
  const times = (took: Took | null): Part => (took === null ? html`<span class="dim">–</span>` : `${span(took.half)} / ${span(took.most)}`)
  const rows = points.map(({ at, wait, run }) => [moment(at), count(wait?.of ?? 0), times(wait), count(run?.of ?? 0), times(run)])
  const at = points.map((point) => point.at)
  return html`${panel(
    'Wait until a worker took it',
    at,
    points.map(({ wait }) => wait),
  )}
  ${panel(
    'Run until it ended',
    at,
    points.map(({ run }) => run),
  )}
  ${folded('latency-table', 'The same as a table', table('Waits and runs over time', COLUMNS, rows))}`
}

function panel(title: string, at: readonly string[], took: readonly (Took | null)[]): Html {
  const last = took.findLast((one) => one !== null)
  if (last === undefined) return html`<p class="dim">${title}: none in this window.</p>`
  const worst = Math.max(...took.map((one) => one?.most ?? 0))
  const label = `${title}, over time: lately ${span(last.half)} at most for half and ${span(last.most)} for 95 of 100; at its worst ${span(worst)}`
  const half = took.map((one) => one?.half ?? null)
  const most = took.map((one) => one?.most ?? null)
  return html`<div class="panel">
    <h3>${title} <span class="key half">half took no longer</span> <span class="key most">95 of 100, dashed</span></h3>
    ${spanChart({ label, at, half, most })}
  </div>`
}
