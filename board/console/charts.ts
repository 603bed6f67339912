import { html, type Html } from './html.js'
import { count } from './parts.js'

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [1_000, 180, 46, 22]

export interface Series {
  readonly label: string
  readonly at: readonly string[]
  readonly values: readonly number[]
}

/** A filled line over time. A table of the same numbers belongs beside it. */
export function areaChart(series: Series): Html {
  const top = niceTop(Math.max(1, ...series.values))
  const n = series.values.length
  const x = (at: number): number => LEFT + (n <= 1 ? 0 : (at / (n - 1)) * (WIDTH - LEFT))
  const y = (value: number): number => 8 + (1 - value / top) * (HEIGHT - BOTTOM - 8)
  const line = series.values.map((value, at) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join('L')
  return frame(series, top, y, html`<path class="area" d="M${LEFT} ${y(0).toFixed(1)}L${line}L${x(n - 1).toFixed(1)} ${y(0).toFixed(1)}z" /><path class="line" d="M${line}" />`, x)
}

/** Two bars for each step of time, side by side. */
export function barChart(series: Series, second: { readonly label: string; readonly values: readonly number[] }): Html {
  const top = niceTop(Math.max(1, ...series.values, ...second.values))
  const n = series.values.length
  const step = (WIDTH - LEFT) / Math.max(1, n)
  const y = (value: number): number => 8 + (1 - value / top) * (HEIGHT - BOTTOM - 8)
  const bar = (value: number, at: number, shift: number, kind: string): Html =>
    html`<rect
      class="${kind}"
      x="${(LEFT + at * step + shift * step * 0.42 + step * 0.08).toFixed(1)}"
      y="${y(value).toFixed(1)}"
      width="${(step * 0.38).toFixed(1)}"
      height="${(y(0) - y(value)).toFixed(1)}"
    />`
  const bars = html`${series.values.map((value, at) => bar(value, at, 0, 'first'))}${second.values.map((value, at) => bar(value, at, 1, 'second'))}`
  return frame(series, top, y, bars, (at) => LEFT + (at + 0.5) * step)
}

function frame(series: Series, top: number, y: (value: number) => number, body: Html, x: (at: number) => number): Html {
  const every = Math.max(1, Math.ceil(series.at.length / 8))
  const last = series.at.length - 1
  return html`<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${series.label}">
    ${[0, top / 2, top].map((value) => html`<line class="rule" x1="${LEFT}" x2="${WIDTH}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}" /><text class="scale" x="${LEFT - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${count(value)}</text>`)}
    ${body}
    ${series.at.map((time, at) => (at % every === 0 ? html`<text class="scale" x="${x(at).toFixed(1)}" y="${HEIGHT - 4}" text-anchor="${at === 0 ? 'start' : at === last ? 'end' : 'middle'}">${time.slice(11, 16)}</text>` : html``))}
  </svg>`
}

/** The next round number above, of which half is round too. */
function niceTop(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  const step = [1, 2, 4, 6, 8, 10].find((one) => one * power >= value) ?? 10
  return Math.max(2, step * power)
}
