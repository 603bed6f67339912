import { z } from 'zod'
import type { EventView } from '../../../contracts/events.js'
import { TopicPattern } from '../../../contracts/topics.js'
import { queryOf, type PageHandler } from '../deps.js'
import { clip, html, type Html } from '../html.js'
import { markOf } from '../marks.js'
import { field, moment, said } from '../parts.js'

const Query = z.object({ topic: TopicPattern.optional() })
const SHOWN = 100

/** What happens, as it happens. */
export const eventsPage: PageHandler = async (input, { ledger }) => {
  const { topic } = queryOf(Query, input.query)
  // Before the events: what happens after this look is told by the stream, what happened before it is on the page.
  const pulse = await ledger.console.pulse()
  const newest = (await ledger.listEvents({ order: 'desc', limit: SHOWN })).items
  const items = topic === undefined || topic === '*' ? newest : (await ledger.listEvents({ order: 'desc', limit: SHOWN, topic })).items
  // The stream goes on from some way back, of whatever topic: what commits late, between those, is not lost. The page knows which it has.
  const floor = newest.length < SHOWN ? '0' : (newest.at(-1)?.id ?? '0')
  const stream = new URLSearchParams({ tail: '1', last: markOf({ pulse, floor }), ...(topic === undefined ? {} : { topic }) })
  return {
    title: 'Events',
    everySeconds: 5,
    stream: stream.toString(),
    tools: html`<form class="filters" method="get" action="/console/events">
        ${field('Topic or pattern', 'topic', topic, { placeholder: 'security.*' })}<button type="submit">Show</button>
      </form>
      <button type="button" id="hold" hidden aria-pressed="false">Hold</button>`,
    main: html`<p id="tail-note" class="dim" role="status"></p>
      <table class="cards" id="tail">
        <caption class="unseen">
          Events, newest first; new ones appear at the top
        </caption>
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">Topic</th>
            <th scope="col">From</th>
            <th scope="col">Payload</th>
          </tr>
        </thead>
        <tbody>
          ${items.map((event) => eventRow(event))}
        </tbody>
      </table>
      <p class="empty" id="tail-empty" ${items.length > 0 ? html`hidden` : ''}>No event yet. New ones appear here by themselves.</p>`,
  }
}

/** One row of the tail, in the page and in the stream. */
export function eventRow(event: EventView): Html {
  const payload = JSON.stringify(event.payload)
  return html`<tr id="event-${event.id}">
    <td data-label="When"><div>${moment(event.created_at)}</div></td>
    <td data-label="Topic">
      <div><strong>${said(event.topic, 200)}</strong></div>
    </td>
    <td data-label="From">
      <div>${event.source_agent ?? said(event.created_by, 80)}${event.source_job_id !== null && html` <a href="/console/jobs/${event.source_job_id}">its job</a>`}</div>
    </td>
    <td data-label="Payload">
      <div>
        ${
          payload === '{}'
            ? html`<span class="dim">–</span>`
            : payload.length <= 140
              ? html`<code>${payload}</code>`
              : html`<details id="payload-${event.id}">
                  <summary><code>${clip(payload, 120)}</code></summary>
                  <pre tabindex="0">${clip(JSON.stringify(event.payload, undefined, 2), 8_000)}</pre>
                </details>`
        }
      </div>
    </td>
  </tr>`
}
