import type { FlowEdge } from '../../ledger/console/hand-off-flow.js'
import { clip, html, type Html } from './html.js'
import { count } from './parts.js'

/** So many of the heaviest hand-offs are drawn; the table has all. */
export const DRAWN = 40

const [LEFT, RIGHT, TOP, WIDTH] = [250, 750, 28, 1_000]
const HUES = 8
const GAP = 10
/** Height of everything that is drawn, without the gaps; a hand-off is at least so high. */
const [BODY, LEAST] = [420, 3]

interface Node {
  readonly name: string
  readonly jobs: number
  readonly y: number
  readonly height: number
  /** How far ribbons have been laid along it. */
  used: number
}

/**
 * Senders at the left, receivers at the right, a ribbon for each pair, as wide as the number of jobs. Two columns and not a
 * chain of layers: agents hand work back and forth, and layers know no circle.
 */
export function flowGraph(edges: readonly FlowEdge[]): Html {
  const drawn = edges.slice(0, DRAWN)
  const total = drawn.reduce((sum, edge) => sum + edge.jobs, 0)
  const heightOf = (jobs: number): number => Math.max(LEAST, (jobs / total) * BODY)
  const senders = nodesOf(drawn, (edge) => edge.from, heightOf)
  const receivers = nodesOf(drawn, (edge) => edge.to ?? 'anyone able', heightOf)
  const hues = new Map([...senders.keys()].map((name, at) => [name, at % HUES]))
  const height = TOP + Math.max(...[senders, receivers].map((side) => Math.max(0, ...[...side.values()].map((node) => node.y + node.height)))) + 10
  const ribbons = drawn.map((edge) => {
    const [from, to] = [senders.get(edge.from), receivers.get(edge.to ?? 'anyone able')]
    if (from === undefined || to === undefined) return html``
    const thick = heightOf(edge.jobs)
    const [y1, y2] = [TOP + from.y + from.used, TOP + to.y + to.used]
    from.used += thick
    to.used += thick
    const middle = (LEFT + RIGHT) / 2
    const shape = `M${LEFT + 8} ${y1.toFixed(1)}C${middle} ${y1.toFixed(1)} ${middle} ${y2.toFixed(1)} ${RIGHT - 8} ${y2.toFixed(1)}v${thick.toFixed(1)}C${middle} ${(y2 + thick).toFixed(1)} ${middle} ${(y1 + thick).toFixed(1)} ${LEFT + 8} ${(y1 + thick).toFixed(1)}z`
    return html`<path class="ribbon h${hues.get(edge.from) ?? 0}" d="${shape}"><title>${edge.from} → ${edge.to ?? 'anyone able'}: ${count(edge.jobs)} jobs</title></path>`
  })
  return html`<figure class="flow">
    <svg viewBox="0 0 ${WIDTH} ${height.toFixed(0)}" role="img" aria-label="Who handed work to whom; the table below says the same">
      <text class="side" x="${LEFT}" y="14" text-anchor="end">handed over by</text>
      <text class="side" x="${RIGHT}" y="14">to</text>
      ${ribbons}
      ${[...senders.values()].map((node) => html`<rect class="node h${hues.get(node.name) ?? 0}" x="${LEFT}" y="${(TOP + node.y).toFixed(1)}" width="8" height="${node.height.toFixed(1)}" rx="2" /><text x="${LEFT - 8}" y="${(TOP + node.y + node.height / 2 + 4).toFixed(1)}" text-anchor="end">${clip(node.name, 24)} <tspan class="dim">${count(node.jobs)}</tspan></text>`)}
      ${[...receivers.values()].map((node) => html`<rect class="node" x="${RIGHT - 8}" y="${(TOP + node.y).toFixed(1)}" width="8" height="${node.height.toFixed(1)}" rx="2" /><text x="${RIGHT + 8}" y="${(TOP + node.y + node.height / 2 + 4).toFixed(1)}">${clip(node.name, 24)} <tspan class="dim">${count(node.jobs)}</tspan></text>`)}
    </svg>
  </figure>`
}

function nodesOf(edges: readonly FlowEdge[], nameOf: (edge: FlowEdge) => string, heightOf: (jobs: number) => number): Map<string, Node> {
  const sums = new Map<string, { jobs: number; height: number }>()
  for (const edge of edges) {
    const known = sums.get(nameOf(edge)) ?? { jobs: 0, height: 0 }
    sums.set(nameOf(edge), { jobs: known.jobs + edge.jobs, height: known.height + heightOf(edge.jobs) })
  }
  let y = 0
  const nodes = new Map<string, Node>()
  for (const [name, { jobs, height }] of [...sums].sort((a, b) => b[1].jobs - a[1].jobs)) {
    nodes.set(name, { name, jobs, y, height, used: 0 })
    // Room for the name beside it.
    y += Math.max(height, 12) + GAP
  }
  return nodes
}
