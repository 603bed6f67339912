import { SLOT_OUTCOMES, type NamespaceHealth } from '../../../ledger/console/system-health.js'
import { html, type Html, type Part } from '../html.js'
import { ago, count, empty, span, table } from '../parts.js'

const WORK = [
  { name: 'Namespace' },
  { name: 'Waiting', number: true },
  { name: 'Queued', number: true },
  { name: 'Oldest queued', number: true },
  { name: 'In hand', number: true },
  { name: 'Blocked', number: true },
  { name: 'Longest blocked', number: true },
  { name: 'Dead letters', number: true },
  { name: 'Leases run out', number: true },
  { name: 'Open after 3 tries', number: true },
]
const PROCESSES = [
  { name: 'Namespace' },
  ...SLOT_OUTCOMES.map((outcome) => ({ name: outcome.replace('_', ' '), number: true })),
  { name: 'Started', number: true },
  { name: 'Workers alive', number: true },
  { name: 'Leases held', number: true },
  { name: 'Agents busy', number: true },
  { name: 'Last seen' },
]
const THOUGHTS = [
  { name: 'Namespace' },
  { name: 'New', number: true },
  { name: 'Oldest new', number: true },
  { name: 'Accepted', number: true },
  { name: 'Parked', number: true },
  { name: 'Converted', number: true },
  { name: 'Ideas: new', number: true },
  { name: 'Oldest new idea', number: true },
  { name: 'Ideas: reviewed', number: true },
  { name: 'Ideas: promoted', number: true },
  { name: 'Ideas: archived', number: true },
]

/** The view `system_health_snapshot_v` as it is: what a person sees here and what SQL says are the same numbers. */
export function snapshotSection(namespaces: readonly NamespaceHealth[], nowMs: number): Html {
  return html`<section id="health-snapshot" data-live aria-labelledby="snapshot-title">
    <h2 id="snapshot-title">Snapshot by namespace</h2>
    <p class="dim">
      The view <code>system_health_snapshot_v</code>: open work; below it the slots of standing orders of the last 24 hours with the workers; then opportunities and ideas.
    </p>
    ${
      namespaces.length === 0
        ? empty('There is no work, no standing order and no worker yet.')
        : html`${table('Open work by namespace', WORK, namespaces.map(workRow))}
          ${table(
            'Standing orders of the last 24 hours, and workers, by namespace',
            PROCESSES,
            namespaces.map((one) => processRow(one, nowMs)),
          )}
          ${table('Opportunities and ideas, by namespace', THOUGHTS, namespaces.map(thoughtRow))}`
    }
  </section>`
}

const alarming = (n: number): Part => (n === 0 ? '0' : html`<span class="bad">${count(n)}</span>`)
const age = (seconds: number | null): Part => (seconds === null ? html`<span class="dim">–</span>` : span(seconds))

function workRow(one: NamespaceHealth): Part[] {
  return [
    one.namespace,
    count(one.waiting),
    count(one.queued),
    age(one.oldest_queued_seconds),
    count(one.in_hand),
    count(one.blocked),
    age(one.oldest_blocked_seconds),
    alarming(one.dead),
    alarming(one.expired_leases),
    alarming(one.retry_hotspots),
  ]
}

function processRow(one: NamespaceHealth, nowMs: number): Part[] {
  const { failed, missed } = one.slots
  return [
    one.namespace,
    ...SLOT_OUTCOMES.map((outcome) => (outcome === 'failed' ? alarming(failed) : outcome === 'missed' ? alarming(missed) : count(one.slots[outcome]))),
    count(one.started_slots),
    html`${count(one.alive_workers)} of ${count(one.workers)}${one.stale_workers > 0 && html` <span class="bad">${count(one.stale_workers)} stale</span>`}`,
    count(one.leases_owned),
    count(one.busy_agents),
    one.worker_seen_at === null ? html`<span class="dim">never</span>` : html`${ago(one.worker_seen_at, nowMs)} ago`,
  ]
}

function thoughtRow({ namespace, opportunities, ideas, oldest_new_opportunity_seconds: opportunity, oldest_new_idea_seconds: idea }: NamespaceHealth): Part[] {
  return [
    namespace,
    count(opportunities.new),
    age(opportunity),
    count(opportunities.accepted),
    count(opportunities.parked),
    count(opportunities.converted),
    count(ideas.new),
    age(idea),
    count(ideas.reviewed),
    count(ideas.promoted),
    count(ideas.archived),
  ]
}
