import { z } from 'zod'
import { AgentId } from '../../../contracts/ids.js'
import { FLOW_BUDGET, MOST_EDGES } from '../../../ledger/console/hand-off-flow.js'
import { queryOf, type PageHandler } from '../deps.js'
import { DRAWN, flowGraph } from '../flow-graph.js'
import { html, link } from '../html.js'
import { agentLink, count, empty, field, span, table, WINDOWS, windows } from '../parts.js'

const NAMES = ['1h', '6h', '24h', '3d', '7d'] as const
const Query = z.object({ window: z.enum(NAMES).default('24h'), agent: AgentId.optional() })
const COLUMNS = [
  { name: 'From' },
  { name: 'To' },
  { name: 'Jobs', number: true },
  { name: 'Open', number: true },
  { name: 'Not done', number: true },
  { name: 'Median time', number: true },
]

/** Who handed what to whom in a window. */
export const flowPage: PageHandler = async (input, { ledger, nowMs }) => {
  const query = queryOf(Query, input.query)
  const fromMs = nowMs - (WINDOWS[query.window] ?? 86_400_000)
  // An id of the next moment: whatever is there by now is in.
  const { edges, cut, more } = await ledger.console.flow({ fromMs, toMs: nowMs + 60_000, agent: query.agent })
  const from = new Date(fromMs).toISOString().slice(0, 16)
  const rows = edges.map((edge) => [
    agentLink(edge.from),
    agentLink(edge.to),
    // No search finds those that nobody has taken: without an agent it would find all that the sender has handed over.
    edge.to === null ? count(edge.jobs) : html`<a href="${link('/console/jobs', { source: edge.from, agent: edge.to, from })}">${count(edge.jobs)}</a>`,
    count(edge.open),
    edge.failed === 0 ? '0' : html`<span class="bad">${count(edge.failed)}</span>`,
    edge.median_seconds === null ? '–' : span(edge.median_seconds),
  ])
  return {
    title: 'Flow of hand-offs',
    everySeconds: 10,
    tools: html`${windows('/console/flow', { agent: query.agent }, query.window, NAMES)}
      <form class="filters" method="get" action="/console/flow">
        <input type="hidden" name="window" value="${query.window}" />${field('Agent', 'agent', query.agent)}<button type="submit">Show</button>
      </form>`,
    main: html`<section id="flow" data-live aria-label="Hand-offs">
      ${
        edges.length === 0
          ? empty(cut ? `Nobody handed anything to anybody among the newest ${count(FLOW_BUDGET)} jobs of this window.` : 'Nobody handed anything to anybody in this window.')
          : html`${flowGraph(edges)} ${edges.length > DRAWN && html`<p class="dim">The ${DRAWN} heaviest of ${more ? `more than ${MOST_EDGES}` : edges.length} are drawn.</p>`}
            ${cut && html`<p class="dim">Counted: the newest ${count(FLOW_BUDGET)} jobs of the window.</p>`} ${table('Hand-offs, most first', COLUMNS, rows)}
            ${more && html`<p class="dim">The ${MOST_EDGES} heaviest are listed; choose an agent for all of its own.</p>`}`
      }
    </section>`,
  }
}
