import type { AlertView, SilenceView } from '../../../contracts/alerts.js'
import type { AlertBoard } from '../../../ledger/console/alert-board.js'
import { actionForm } from '../forms.js'
import { html, type Html, type Part } from '../html.js'
import { ago, badge, choice, count, empty, moment, said, span, table } from '../parts.js'
import { folded } from '../pieces.js'

/** Incidents: what is open with the means to take it on or to silence it, what is silenced, and what was over last. */
export function alertSection(board: AlertBoard, nowMs: number): Html {
  const watched = board.rules === 1 ? 'One rule of the fleet file watches.' : `${count(board.rules)} rules of the fleet file watch.`
  return html`<section id="health-alerts" data-live aria-labelledby="alerts-title">
    <h2 id="alerts-title">Open alerts</h2>
    ${
      board.open.length === 0
        ? empty(`No alert is open. ${board.rules === 0 ? 'The fleet file has no alert rules, so nothing is watched.' : watched}`)
        : html`<ul class="items">
            ${board.open.map((alert) => openItem(alert, nowMs))}
          </ul>`
    }
    ${board.more && html`<p class="dim">There are more: agentbus alerts lists all of them.</p>`}
    ${
      board.silences.length > 0 &&
      html`<h3>Silences</h3>
        <ul class="items">
          ${board.silences.map((silence) => silenceItem(silence, nowMs))}
        </ul>`
    }
    ${
      board.over.length > 0 &&
      folded(
        'alerts-over',
        'Over lately',
        table(
          'Alerts that are over, newest first',
          OVER_COLUMNS,
          board.over.map((alert) => overRow(alert)),
        ),
      )
    }
  </section>`
}

/** Figures in seconds are times; the others are numbers. */
const amount = (figure: string, value: number): string => (figure.endsWith('_seconds') ? span(value) : count(value))
const words = (figure: string): string => figure.replace(/_seconds$/, '').replaceAll('_', ' ')
const level = (alert: AlertView): Html => badge(alert.level === 'urgent' ? { sign: '!', tone: 'bad', words: 'urgent' } : { sign: '▲', tone: 'warn', words: 'warning' })
const about = (subject: string): Part => (subject === 'fleet' ? 'the whole fleet' : said(subject, 120))

const HOURS = [
  ['3600', '1 hour'],
  ['14400', '4 hours'],
  ['86400', '1 day'],
  ['604800', '1 week'],
] as const

function openItem(alert: AlertView, nowMs: number): Html {
  return html`<li class="item" id="alert-${alert.id}">
    <div class="what">
      <h3>${level(alert)} ${alert.rule}: ${about(alert.subject)}</h3>
      <p>
        ${words(alert.figure)} <strong>${amount(alert.figure, alert.value)}</strong>, allowed ${amount(alert.figure, alert.threshold)}, at its worst
        ${amount(alert.figure, alert.peak)}
      </p>
      <p class="dim">
        for ${ago(alert.since, nowMs)} · told
        ${alert.told === 1 ? 'once' : `${count(alert.told)} times`}${alert.silenced_until !== null && html` · silenced until ${moment(alert.silenced_until)}`}
      </p>
      ${alert.acknowledged_at !== null && html`<p>${badge({ sign: '✓', tone: 'good', words: 'acknowledged' })} by ${said(alert.acknowledged_by, 80)} ${ago(alert.acknowledged_at, nowMs)} ago: ${said(alert.note, 400)}</p>`}
    </div>
    <div class="buttons">
      ${
        alert.acknowledged_at === null &&
        actionForm({
          id: `acknowledge-${alert.id}`,
          action: 'acknowledge',
          hidden: { id: alert.id },
          label: 'Acknowledge…',
          title: 'Acknowledge this alert',
          explain: 'You look after it: nobody is reminded of it any more. Its end is told still.',
          submit: 'Acknowledge',
          tone: 'good',
        })
      }${actionForm({
        id: `silence-${alert.id}`,
        action: 'silence',
        hidden: { rule: alert.rule, subject: alert.subject },
        label: 'Silence…',
        title: 'Silence this alert',
        explain: 'Until then nobody is told of it. It stays on this page.',
        submit: 'Silence',
        more: html`${choice('For how long', 'for_seconds', '3600', HOURS)}
        ${choice('What', 'of', 'subject', [
          ['subject', `only ${alert.subject === 'fleet' ? 'the whole fleet' : alert.subject}`],
          ['rule', `every subject of the rule ${alert.rule}`],
        ])}`,
      })}
    </div>
  </li>`
}

function silenceItem(silence: SilenceView, nowMs: number): Html {
  const name = silence.subject === null ? `every ${silence.rule}` : `${silence.rule}: ${silence.subject}`
  return html`<li class="item" id="silence-of-${silence.id}">
    <div class="what">
      <h3>${badge({ sign: '∅', tone: 'dim', words: 'silenced' })} ${said(name, 200)}</h3>
      <p>${said(silence.reason, 400)}</p>
      <p class="dim">by ${said(silence.created_by, 80)} ${ago(silence.created_at, nowMs)} ago · until ${moment(silence.until)}</p>
    </div>
    <div class="buttons">
      ${actionForm({
        id: `lift-${silence.id}`,
        action: 'lift-silence',
        hidden: { id: silence.id },
        label: 'Lift…',
        title: 'Lift this silence',
        explain: 'From now on its alerts are told again.',
        submit: 'Lift',
      })}
    </div>
  </li>`
}

const OVER_COLUMNS = [
  { name: 'Alert' },
  { name: 'About' },
  { name: 'At its worst', number: true },
  { name: 'Opened' },
  { name: 'Lasted', number: true },
  { name: 'Why over' },
  { name: 'Acknowledged' },
]

function overRow(alert: AlertView): Part[] {
  const lasted = alert.resolved_at === null ? '–' : span((Date.parse(alert.resolved_at) - Date.parse(alert.opened_at)) / 1_000)
  return [
    html`${level(alert)} ${alert.rule}`,
    about(alert.subject),
    amount(alert.figure, alert.peak),
    moment(alert.opened_at),
    lasted,
    said(alert.resolved_as?.replaceAll('_', ' ') ?? null, 60),
    alert.acknowledged_at === null ? html`<span class="dim">nobody</span>` : html`${said(alert.acknowledged_by, 60)}: ${said(alert.note, 160)}`,
  ]
}
