import type { GatewayRun } from './gateways.js'
import type { LedgerFacts } from './ledger-facts.js'
import { GATEWAYS, type PlayedTrouble, type Trouble } from './schedule.js'

/**
 * How long after the end of its attempt a run may begin without anything being wrong: a post that was sent in time may wait
 * three seconds at the gateway for a place, and the rest is for what is under way in worker and network while somebody else
 * ends the attempt, such as a client that cancels the job.
 */
export const LATE_SLACK_MS = 5_000

type Attempt = LedgerFacts['attempts'][number]

/** The first run under each key. What a gateway that has lost its memory runs once more is judged by another verdict. */
export function firstRuns(runs: readonly GatewayRun[]): GatewayRun[] {
  const first = new Map<string, GatewayRun>()
  for (const run of runs) {
    const known = first.get(run.key ?? '')
    if (run.key !== undefined && (known === undefined || run.startedMs < known.startedMs)) first.set(run.key, run)
  }
  return [...first.values()]
}

/** How late the run began, in milliseconds after the end of its attempt; undefined while that is within the slack. */
export function latenessOf(run: GatewayRun, attempt: Attempt | undefined): number | undefined {
  if (attempt === undefined || attempt.finishedMs === null) return undefined
  const lateMs = run.startedMs - attempt.finishedMs
  return lateMs > LATE_SLACK_MS ? lateMs : undefined
}

/**
 * The trouble that kept the post of a late run under way: a pause or a cut between lease and start, on the way from lease to
 * gateway, that was not over long before the run began.
 */
export function excuseOf(run: GatewayRun, attempt: Attempt, troubles: readonly PlayedTrouble[]): PlayedTrouble | undefined {
  return troubles.find(
    ({ trouble, fromMs, untilMs }) => delays(trouble, run.gateway) && fromMs <= run.startedMs && untilMs >= attempt.leasedMs && run.startedMs <= untilMs + LATE_SLACK_MS,
  )
}

/** First runs that began after their attempt had ended, and had an excuse. */
export function excusedRuns(of: { readonly runs: readonly GatewayRun[]; readonly attempts: readonly Attempt[]; readonly troubles: readonly PlayedTrouble[] }): GatewayRun[] {
  const attempts = new Map(of.attempts.map((attempt) => [attempt.id, attempt]))
  return firstRuns(of.runs).filter((run) => {
    const attempt = attempts.get(run.key ?? '')
    return attempt !== undefined && latenessOf(run, attempt) !== undefined && excuseOf(run, attempt, of.troubles) !== undefined
  })
}

/** Any worker may have posted it, so the troubles of all of them count; those of the API and of other gateways explain nothing. */
function delays({ kind, target }: Trouble, gateway: string): boolean {
  if (kind !== 'pause' && kind !== 'wipe_in_pause' && kind !== 'cut') return false
  if (GATEWAYS.some((name) => name === target)) return target === gateway
  return target !== 'api' && !target.startsWith('api>') && !target.endsWith('>api')
}
