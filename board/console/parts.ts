import type { AGENT_STATES } from '../../contracts/agents.js'
import type { JobStatus } from '../../contracts/job-states.js'
import type { SlotStatus } from '../../contracts/standing-orders.js'
import { clip, html, link, type Html, type Part } from './html.js'

type Tone = 'good' | 'bad' | 'warn' | 'busy' | 'calm' | 'dim'
interface Mark {
  readonly sign: string
  readonly tone: Tone
  readonly words: string
}

/** Each state has a sign and words beside its colour: nobody has to tell colours apart. */
export const JOB_MARKS: Readonly<Record<JobStatus, Mark>> = {
  waiting: { sign: '◷', tone: 'dim', words: 'waiting' },
  queued: { sign: '○', tone: 'calm', words: 'queued' },
  leased: { sign: '◔', tone: 'busy', words: 'leased' },
  running: { sign: '▶', tone: 'busy', words: 'running' },
  blocked: { sign: '■', tone: 'warn', words: 'blocked' },
  succeeded: { sign: '✓', tone: 'good', words: 'succeeded' },
  failed: { sign: '✗', tone: 'bad', words: 'failed' },
  dead: { sign: '†', tone: 'bad', words: 'dead' },
  cancelled: { sign: '⊘', tone: 'dim', words: 'cancelled' },
}

export const SLOT_MARKS: Readonly<Record<SlotStatus, Mark>> = {
  expected: { sign: '·', tone: 'dim', words: 'expected' },
  started: { sign: '▶', tone: 'busy', words: 'running' },
  no_work: { sign: '–', tone: 'calm', words: 'no work' },
  completed: { sign: '✓', tone: 'good', words: 'completed' },
  blocked: { sign: '■', tone: 'warn', words: 'blocked' },
  failed: { sign: '✗', tone: 'bad', words: 'failed' },
  skipped: { sign: '»', tone: 'dim', words: 'skipped' },
  missed: { sign: '!', tone: 'bad', words: 'missed' },
}

const AGENT_MARKS: Readonly<Record<(typeof AGENT_STATES)[number], Mark>> = {
  offline: { sign: '✗', tone: 'bad', words: 'offline' },
  idle: { sign: '○', tone: 'calm', words: 'idle' },
  assigned: { sign: '◔', tone: 'busy', words: 'assigned' },
  working: { sign: '▶', tone: 'busy', words: 'working' },
  blocked: { sign: '■', tone: 'warn', words: 'blocked' },
  disabled: { sign: '⊘', tone: 'dim', words: 'disabled' },
}

export function badge({ sign, tone, words }: Mark): Html {
  return html`<span class="badge ${tone}"><span class="sign" aria-hidden="true">${sign}</span>${words}</span>`
}
export const jobBadge = (status: JobStatus): Html => badge(JOB_MARKS[status])
export const slotBadge = (status: SlotStatus): Html => badge(SLOT_MARKS[status])
export const agentBadge = (state: (typeof AGENT_STATES)[number]): Html => badge(AGENT_MARKS[state])

/** A length of time as people say it: `40 s`, `5 min`, `3 h 20 min`, `2 d 4 h`. */
export function span(seconds: number): string {
  const s = Math.max(0, seconds)
  if (s < 1) return `${Math.round(s * 1_000)} ms`
  if (s < 10) return `${s.toFixed(1)} s`
  if (s < 90) return `${Math.round(s)} s`
  if (s < 5_400) return `${Math.round(s / 60)} min`
  const hours = Math.floor(s / 3_600)
  const minutes = Math.round((s % 3_600) / 60)
  if (hours < 24) return minutes === 0 || minutes === 60 ? `${hours + Math.floor(minutes / 60)} h` : `${hours} h ${minutes} min`
  return hours % 24 === 0 ? `${Math.floor(hours / 24)} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** How long ago, with the whole time on it. */
export function ago(at: string, nowMs: number): Html {
  return html`<time datetime="${at}" title="${full(at)}">${span((nowMs - Date.parse(at)) / 1_000)}</time>`
}

/** The time itself: of the day in `2026-11-21 10:44:42`, UTC. */
export function moment(at: string): Html {
  return html`<time datetime="${at}" title="${full(at)}">${full(at).slice(0, 19)}</time>`
}

export const full = (at: string): string => `${at.slice(0, 10)} ${at.slice(11, 23)} UTC`
export const count = (n: number): string => n.toLocaleString('en')

/** What others wrote: isolated, so that its direction changes nothing around it. */
export function said(text: string | null, length = 200): Html {
  return text === null || text === '' ? html`<span class="dim">–</span>` : html`<bdi>${clip(text, length)}</bdi>`
}

export function jobLink(id: string, subject: string, length = 90): Html {
  return html`<a href="/console/jobs/${id}"><bdi>${subject.trim() === '' ? id.slice(0, 8) : clip(subject, length)}</bdi></a>`
}

export function agentLink(agent: string | null): Html {
  return agent === null ? html`<span class="dim">anyone able</span>` : html`<a href="${link('/console/jobs', { agent })}">${agent}</a>`
}

export function empty(text: string): Html {
  return html`<p class="empty">${text}</p>`
}

export interface Column {
  readonly name: string
  /** Numbers stand at the right. */
  readonly number?: boolean
}

/** A table that becomes a list of cards where it would not fit. `caption` is read out and not shown. */
export function table(caption: string, columns: readonly Column[], rows: readonly (readonly Part[])[]): Html {
  const head = columns.map(({ name, number }) => html`<th scope="col" ${number === true ? html`class="number"` : ''}>${name}</th>`)
  const body = rows.map(
    (cells) =>
      html`<tr>
        ${cells.map((cell, at) => html`<td data-label="${columns[at]?.name ?? ''}" ${columns[at]?.number === true ? html`class="number"` : ''}><div>${cell}</div></td>`)}
      </tr>`,
  )
  return html`<table class="cards">
    <caption class="unseen">
      ${caption}
    </caption>
    <thead>
      <tr>
        ${head}
      </tr>
    </thead>
    <tbody>
      ${body}
    </tbody>
  </table>`
}

/** A choice in a form of filters. */
export function choice(label: string, name: string, chosen: string | undefined, options: readonly (readonly [string, string])[]): Html {
  return html`<label
    >${label}<select name="${name}">
      ${options.map(([value, words]) => html`<option value="${value}" ${value === (chosen ?? '') ? html`selected` : ''}>${words}</option>`)}
    </select></label
  >`
}

export function field(label: string, name: string, value: string | undefined, options: { readonly type?: string; readonly placeholder?: string } = {}): Html {
  return html`<label
    >${label}<input
      type="${options.type ?? 'text'}"
      name="${name}"
      value="${value ?? ''}"
      placeholder="${options.placeholder ?? ''}"
      maxlength="300"
      spellcheck="false"
      autocomplete="off"
  /></label>`
}

/** Windows that a page offers, as links; the one in force is marked. */
export function windows(path: string, query: Readonly<Record<string, string | undefined>>, chosen: string, names: readonly string[]): Html {
  return html`<nav class="switch" aria-label="Window">
    ${names.map((window) => html`<a href="${link(path, { ...query, window })}" ${window === chosen ? html`aria-current="true"` : ''}>${window}</a>`)}
  </nav>`
}

export const WINDOWS: Readonly<Record<string, number>> = { '1h': 3_600_000, '6h': 21_600_000, '24h': 86_400_000, '3d': 259_200_000, '7d': 604_800_000 }
