import { html, type Html } from './html.js'
import { count, span } from './parts.js'

/** At the left there is room for `500 ms`. */
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [1_000, 180, 54, 22]

export interface Series {
  readonly label: string
  readonly at: readonly string[]
  readonly values: readonly number[]
}

/** A filled line over time. A table of the same numbers belongs beside it. */
export function areaChart(series: Series): Html {
  const top = niceTop(Math.max(1, ...series.values))
  const n = series.values.length
  const [x, y] = [across(n), upward(top)]
  const line = series.values.map((value, at) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join('L')
  const body = html`<path class="area" d="M${LEFT} ${y(0).toFixed(1)}L${line}L${x(n - 1).toFixed(1)} ${y(0).toFixed(1)}z" /><path class="line" d="M${line}" />`
  return frame(series, { top, words: count, body, x })
}

/** Two bars for each step of time, side by side. */
export function barChart(series: Series, second: { readonly label: string; readonly values: readonly number[] }): Html {
  const top = niceTop(Math.max(1, ...series.values, ...second.values))
  const n = series.values.length
  const step = (WIDTH - LEFT) / Math.max(1, n)
  const y = upward(top)
  const bar = (value: number, at: number, shift: number, kind: string): Html =>
    html`<rect
      class="${kind}"
      x="${(LEFT + at * step + shift * step * 0.42 + step * 0.08).toFixed(1)}"
      y="${y(value).toFixed(1)}"
      width="${(step * 0.38).toFixed(1)}"
      height="${(y(0) - y(value)).toFixed(1)}"
    />`
  const bars = html`${series.values.map((value, at) => bar(value, at, 0, 'first'))}${second.values.map((value, at) => bar(value, at, 1, 'second'))}`
  return frame(series, { top, words: count, body: bars, x: (at) => LEFT + (at + 0.5) * step })
}

/** Two lines of lengths of time, in seconds. Null where nothing was measured: there a line breaks off and does not fall to zero. */
export interface SpanSeries {
  readonly label: string
  readonly at: readonly string[]
  readonly half: readonly (number | null)[]
  readonly most: readonly (number | null)[]
}

/** What half and what most of something took, over time on one scale; the second line is dashed. A table of the same numbers belongs beside it. */
export function spanChart(series: SpanSeries): Html {
  const top = spanTop(Math.max(...[...series.half, ...series.most].map((value) => value ?? 0)))
  const [x, y] = [across(series.at.length), upward(top)]
  const line = (values: readonly (number | null)[], kind: string): Html[] =>
    stretches(values).map((stretch) => {
      const points = stretch.map(({ at, value }) => [x(at).toFixed(1), y(value).toFixed(1)] as const)
      const [[cx, cy] = ['', '']] = points
      // A path of one point cannot be seen.
      return points.length === 1
        ? html`<circle class="spot ${kind}" cx="${cx}" cy="${cy}" r="3" />`
        : html`<path class="line ${kind}" d="M${points.map((point) => point.join(' ')).join('L')}" />`
    })
  const words = (seconds: number): string => (seconds === 0 ? '0' : span(seconds))
  return frame(series, { top, words, body: html`${line(series.half, 'half')}${line(series.most, 'most')}`, x })
}

/** What lies between gaps, with its place in the list. */
function stretches(values: readonly (number | null)[]): { readonly at: number; readonly value: number }[][] {
  const found: { at: number; value: number }[][] = []
  values.forEach((value, at) => {
    if (value === null) return
    if ((values[at - 1] ?? null) === null) found.push([])
    found.at(-1)?.push({ at, value })
  })
  return found
}

interface Drawing {
  readonly top: number
  /** A value of the scale as it is written there. */
  readonly words: (value: number) => string
  readonly body: Html
  readonly x: (at: number) => number
}

function frame({ label, at: times }: Pick<Series, 'label' | 'at'>, { top, words, body, x }: Drawing): Html {
  const y = upward(top)
  const every = Math.max(1, Math.ceil(times.length / 8))
  const last = times.length - 1
  return html`<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">
    ${[0, top / 2, top].map((value) => html`<line class="rule" x1="${LEFT}" x2="${WIDTH}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}" /><text class="scale" x="${LEFT - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${words(value)}</text>`)}
    ${body}
    ${times.map((time, at) => (at % every === 0 ? html`<text class="scale" x="${x(at).toFixed(1)}" y="${HEIGHT - 4}" text-anchor="${at === 0 ? 'start' : at === last ? 'end' : 'middle'}">${time.slice(11, 16)}</text>` : html``))}
  </svg>`
}

/** Where each of `n` points stands, the first and the last at the edges. */
const across =
  (n: number) =>
  (at: number): number =>
    LEFT + (n <= 1 ? 0 : (at / (n - 1)) * (WIDTH - LEFT))

/** Where a value stands on a scale that ends with `top`. */
const upward =
  (top: number) =>
  (value: number): number =>
    8 + (1 - value / top) * (HEIGHT - BOTTOM - 8)

/** The next round number above, of which half is round too. */
function niceTop(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  const step = [1, 2, 4, 6, 8, 10].find((one) => one * power >= value) ?? 10
  return Math.max(2, step * power)
}

const DAY = 86_400
/** Lengths of time of which half is as round: up to 10 ms, a second, ten minutes, a day. */
const SPANS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 240, 600, 1_200, 3_600, 7_200, 14_400, 43_200, DAY, 2 * DAY]

/** The next round length of time above, in seconds. */
function spanTop(seconds: number): number {
  return SPANS.find((one) => one >= seconds) ?? DAY * 2 ** Math.ceil(Math.log2(seconds / DAY))
}
