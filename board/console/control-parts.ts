import type { ControlView } from '../../contracts/controls.js'
import { html, type Html } from './html.js'
import { ago, badge, count } from './parts.js'

const SIGNS = { pause: '‖', drain: '↓', freeze: '∗' } as const
const STATES = { pause: 'paused', drain: 'draining', freeze: 'frozen' } as const

/** What a control is on: `lane coding`, `everything`. */
export const nameOf = (one: { readonly scope: string; readonly target: string | null }): string => (one.target === null ? one.scope : `${one.scope} ${one.target}`)

/** What is done: `pause`, `drain`, `freeze`. */
export const actionBadge = (one: Pick<ControlView, 'action'>): Html => badge({ sign: SIGNS[one.action], tone: 'warn', words: one.action })

/** The state that it brings about: paused, draining or drained, frozen. */
export function stateBadge(one: Pick<ControlView, 'action' | 'still_running' | 'drained_at'>): Html {
  return badge({ sign: SIGNS[one.action], tone: 'warn', words: one.action === 'drain' && one.drained_at !== null ? 'drained' : STATES[one.action] })
}

/**
 * What a drain that is not over waits for when nothing of it is seen to run: transactions that may have opened an attempt. Undefined for
 * anything else; how many attempts are open is said of every control.
 */
export function hiddenWait({ waits_for: wait }: Pick<ControlView, 'waits_for'>, nowMs: number): Html | undefined {
  if (wait?.kind !== 'transactions') return undefined
  const since = wait.since === null ? '' : html`, the oldest for ${ago(wait.since, nowMs)}`
  return html`waits for ${count(wait.count)} ${wait.count === 1 ? 'transaction that writes' : 'transactions that write'} attempts${since}`
}

/** The controls in force in a line each, as a strip above what they stop. */
export function controlStrip(controls: readonly ControlView[], most: number): Html {
  return html`<ul class="strip">
    ${controls.slice(0, most).map(
      (one) =>
        html`<li>
          ${stateBadge(one)} <a href="/console/controls#control-${String(one.id)}">${nameOf(one)}</a>
          <span class="dim"><bdi>${one.reason.slice(0, 160)}</bdi>, by <bdi>${one.by}</bdi></span>
        </li>`,
    )}
    ${controls.length > most && html`<li><a href="/console/controls">and ${controls.length - most} more</a></li>`}
  </ul>`
}
