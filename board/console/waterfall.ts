import type { JobStatus } from '../../contracts/job-states.js'
import type { JobView } from '../../contracts/jobs.js'
import { MOVES_SHOWN, type Move } from '../../ledger/console/recent-history.js'
import { html, type Html } from './html.js'
import { span } from './parts.js'

export interface Bar {
  readonly status: JobStatus
  readonly attemptNo: number | undefined
  readonly fromMs: number
  readonly toMs: number
}

/** The time of a job cut into what it was doing: one bar for each move, the last one up to now while it is open. */
export function barsOf(job: JobView, moves: readonly Move[], nowMs: number): Bar[] {
  return moves.flatMap((move, at) => {
    const next = moves[at + 1]
    const fromMs = Date.parse(move.at)
    if (next === undefined && job.finished_at !== null) return []
    const toMs = next === undefined ? Math.max(nowMs, fromMs) : Date.parse(next.at)
    // A retry is queued by a row of the attempt before: the number stands on what it does, not on the wait for the next.
    const isHeld = move.to_status === 'leased' || move.to_status === 'running'
    return [{ status: move.to_status, attemptNo: isHeld ? (move.attempt_no ?? undefined) : undefined, fromMs, toMs: Math.max(toMs, fromMs) }]
  })
}

const WIDTH = 1_000
const ROW = 26
/** A bar is at least so wide, so that a moment can be seen. */
const LEAST = 3

/** The bars on a scale of time, one below the other. The table of moves below it says the same in words. */
export function waterfall(bars: readonly Bar[]): Html {
  const shown = bars.slice(-MOVES_SHOWN)
  const [first] = shown
  if (first === undefined) return html``
  const startMs = first.fromMs
  const endMs = Math.max(...shown.map((bar) => bar.toMs), startMs + 1)
  const x = (ms: number): number => Math.round(((ms - startMs) / (endMs - startMs)) * WIDTH)
  const height = shown.length * ROW + 24
  return html`<figure class="waterfall">
    <svg viewBox="0 0 ${WIDTH + 180} ${height}" role="img" aria-label="Time line: ${shown.map((bar) => `${nameOf(bar)} ${span((bar.toMs - bar.fromMs) / 1_000)}`).join(', ')}">
      ${[0, 0.25, 0.5, 0.75, 1].map(
        (part) =>
          html`<line class="rule" x1="${180 + part * WIDTH}" x2="${180 + part * WIDTH}" y1="0" y2="${height - 20}" /><text
              class="scale"
              x="${180 + part * WIDTH}"
              y="${height - 5}"
              text-anchor="${part === 0 ? 'start' : part === 1 ? 'end' : 'middle'}"
              >${part === 0 ? '0' : span(((endMs - startMs) * part) / 1_000)}</text
            >`,
      )}
      ${shown.map((bar, at) => {
        const width = Math.max(LEAST, x(bar.toMs) - x(bar.fromMs))
        const left = 180 + Math.min(x(bar.fromMs), WIDTH - width)
        const isLate = left - 180 > WIDTH * 0.8
        const isOnBar = !isLate && left + width > 1_080
        return html`<g
          ><text class="name" x="172" y="${at * ROW + 17}" text-anchor="end">${nameOf(bar)}</text
          ><rect class="bar b-${bar.status}" x="${left}" y="${at * ROW + 4}" width="${width}" height="${ROW - 9}" rx="3" /><text
            class="took ${isOnBar && 'on-bar'}"
            x="${isLate ? left - 6 : left + width + 6}"
            y="${at * ROW + 17}"
            text-anchor="${isLate || isOnBar ? 'end' : 'start'}"
            ${isOnBar ? html`dx="-16"` : ''}
            >${span((bar.toMs - bar.fromMs) / 1_000)}</text
          ></g
        >`
      })}
    </svg>
    ${bars.length > shown.length && html`<figcaption class="dim">The last ${shown.length} moves.</figcaption>`}
  </figure>`
}

function nameOf({ status, attemptNo }: Bar): string {
  return attemptNo === undefined ? status : `try ${attemptNo}: ${status}`
}
