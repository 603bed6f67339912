import { z } from 'zod'
import { AgentId } from '../../../contracts/ids.js'
import { DEAD_LETTERS_READ, type DeadLetter, type DeadLetterCause } from '../../../ledger/console/dead-letters.js'
import { BULK_LIMIT } from '../actions.js'
import { queryOf, type PageHandler } from '../deps.js'
import { onceOnly, reasonField } from '../forms.js'
import { html, type Html, type Part } from '../html.js'
import { agentLink, ago, count, empty, field, jobBadge, jobLink, said, table } from '../parts.js'

const Query = z.object({ agent: AgentId.optional() })
/** Letters that a cause shows one by one, and causes on the page; the rest is reached by cause and by agent. */
const [SHOWN, CAUSES] = [20, 50]

/** What failed for good and nobody has laid to rest, by cause. */
export const deadLettersPage: PageHandler = async (input, { ledger, nowMs }) => {
  const query = queryOf(Query, input.query)
  const { causes, total, cut } = await ledger.console.deadLetters({ agent: query.agent })
  return {
    title: 'Dead letters',
    everySeconds: 5,
    tools: html`<form class="filters" method="get" action="/console/dead-letters">${field('Agent', 'agent', query.agent)}<button type="submit">Show</button></form>`,
    main: html`<section id="dead" data-live aria-label="Dead letters by cause">
      ${
        total === 0
          ? empty(query.agent === undefined ? 'No dead letters.' : `No dead letters of ${query.agent}.`)
          : html`<p>
                ${count(total)}${cut && '+'} dead ${total === 1 ? 'letter' : 'letters'} of ${count(causes.length)}
                ${causes.length === 1 ? 'cause' : 'causes'}.${cut && html` <span class="dim">The newest ${count(DEAD_LETTERS_READ)} were sorted.</span>`}
              </p>
              ${causes.slice(0, CAUSES).map((cause, at) => causeOf(cause, at, query.agent, nowMs))}
              ${causes.length > CAUSES && html`<p class="dim">${causes.length - CAUSES} rarer causes are not shown; choose an agent.</p>`}`
      }
    </section>`,
  }
}

function causeOf(cause: DeadLetterCause, at: number, agent: string | undefined, nowMs: number): Html {
  const n = cause.letters.length
  const shown = cause.letters.slice(0, SHOWN)
  const newest = shown[0]
  const id = `cause-${cause.key.slice(0, 12)}`
  return html`<details class="cause panel" id="${id}" ${at === 0 ? html`open` : ''}>
    <summary id="${id}-summary">
      <span class="badge bad"><span class="sign" aria-hidden="true">†</span>${count(n)}</span> <strong>${cause.code?.replaceAll('_', ' ') ?? 'no code'}</strong>
      <span class="error">${said(cause.example, 140)}</span>
      <span class="dim"
        >${cause.agents.slice(0, 4).join(', ')}${cause.agents.length > 4 && ` and ${cause.agents.length - 4} more`}${newest !== undefined && html` · last ${ago(newest.finished_at, nowMs)} ago`}</span
      >
    </summary>
    <form method="post" action="/console/actions/dead-letters" data-action aria-label="Dead letters of this cause">
      ${onceOnly()}<input type="hidden" name="agent" value="${agent ?? ''}" />
      ${table(
        'Dead letters of this cause',
        COLUMNS,
        shown.map((letter) => rowOf(letter, nowMs)),
      )}
      ${n > SHOWN && html`<p class="dim">The newest ${SHOWN} of ${count(n)}.</p>`}
      <div class="bulk">
        ${reasonField()}
        <label class="check"
          ><input type="checkbox" name="cause" value="${cause.key}" />all ${count(Math.min(n, BULK_LIMIT))} of this cause${n > BULK_LIMIT && `, the newest first`}</label
        >
        <div class="buttons">
          <button type="submit" name="what" value="retry" class="primary">Retry chosen</button> <button type="submit" name="what" value="bury" class="bad">Bury chosen</button>
        </div>
        <p class="problem" role="alert"></p>
      </div>
    </form>
  </details>`
}

const COLUMNS = [
  { name: 'Choose' },
  { name: 'Job' },
  { name: 'Status' },
  { name: 'Agent' },
  { name: 'Lane' },
  { name: 'Tries', number: true },
  { name: 'Ended' },
  { name: 'Error' },
]

function rowOf(letter: DeadLetter, nowMs: number): Part[] {
  return [
    html`<input type="checkbox" name="ids" value="${letter.id}" aria-label="Choose ${letter.subject.slice(0, 100)}" />`,
    jobLink(letter.id, letter.subject, 70),
    jobBadge(letter.status),
    agentLink(letter.target_agent),
    letter.lane,
    `${letter.attempt_count}/${letter.max_attempts}`,
    html`${ago(letter.finished_at, nowMs)} <span class="dim">ago</span>`,
    said(letter.last_error, 120),
  ]
}
