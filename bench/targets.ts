import { NAMES } from './contestants.js'
import type { Figure, Results, Section } from './figure.js'
import { median } from './figures.js'

/** A target of the project, and what the figures say of it. Nothing here is typed in but the bounds. */
export interface Verdict {
  readonly target: string
  readonly measured: string
  readonly met: boolean
}

interface Wanted {
  readonly section: Section
  readonly figure: string
  readonly system: string
  readonly way: Figure['way']
  readonly queues: Figure['queues']
  readonly finished?: number
}

const GIB = 1_024
const BOUND = { ofNoLedger: 0.5, ofBullmq: 1, p50Ms: 5, p99Ms: 25, rebuildSeconds: 5, oldCost: 0.1, memoryGib: 2, idlePercent: 5 }

/** Every target that the figures at hand can be held against, for both places of the queues. */
export function verdicts({ figures, arguments: given }: Results): Verdict[] {
  const of = (wanted: Wanted): number | undefined => {
    const found = figures.find(
      (one) =>
        one.section === wanted.section &&
        one.figure === wanted.figure &&
        one.system === wanted.system &&
        one.way === wanted.way &&
        one.queues === wanted.queues &&
        one.finished === (wanted.finished ?? 0),
    )
    const values = found?.values.filter((value) => value !== null) ?? []
    return found === undefined || values.length < found.values.length ? undefined : median(values)
  }
  const list: Verdict[] = []
  const hold = (target: string, measured: number | undefined, show: (value: number) => string, isMet: (value: number) => boolean): void => {
    if (measured !== undefined) list.push({ target, measured: show(measured), met: isMet(measured) })
  }
  const ratio = (a: number | undefined, b: number | undefined): number | undefined => (a === undefined || b === undefined ? undefined : a / b)
  const difference = (a: number | undefined, b: number | undefined): number | undefined => (a === undefined || b === undefined ? undefined : a - b)
  const times = (value: number): string => value.toFixed(2)
  const more = (value: number): string => `${value < 0 ? '' : '+'}${value.toFixed(1)} ms`

  for (const queues of ['redis', 'postgres'] as const) {
    const on = `queues on ${queues === 'redis' ? 'Redis' : 'PostgreSQL'}`
    const http = { way: 'HTTP', queues } as const
    const local = { way: 'in process', queues } as const
    const rate = { section: 'rate', figure: 'enqueued one by one' } as const
    const ours = of({ ...rate, ...local, system: NAMES.agentbus })
    hold(
      `over HTTP at least ${BOUND.ofNoLedger} of the same work without a ledger, ${on}`,
      ratio(of({ ...rate, ...http, system: NAMES.agentbus }), of({ ...rate, ...http, system: NAMES.noLedger })),
      times,
      (value) => value >= BOUND.ofNoLedger,
    )
    for (const [system, what] of [
      [NAMES.bare, 'bare BullMQ on its PostgreSQL backend'],
      [NAMES.bareOwnPools, 'the same with a pool for each of queue and worker'],
    ] as const) {
      hold(
        `in process at least ${BOUND.ofBullmq.toFixed(1)} of ${what}, ${on}`,
        ratio(ours, of({ ...rate, system, way: 'in process', queues: 'postgres' })),
        times,
        (value) => value >= BOUND.ofBullmq,
      )
    }
    for (const system of [NAMES.pgBoss, NAMES.pgBossTuned] as const) {
      hold(
        `in process ahead of ${system}, ${on}`,
        ratio(ours, of({ ...rate, system, way: 'in process', queues: 'own' })),
        (value) => `${times(value)} of it`,
        (value) => value > 1,
      )
    }
    for (const [figure, bound] of [
      ['p50', BOUND.p50Ms],
      ['p99', BOUND.p99Ms],
    ] as const) {
      const latency = { section: 'latency', figure, ...http } as const
      hold(
        `latency ${figure} within ${bound} ms of the same work without a ledger, ${on}`,
        difference(of({ ...latency, system: NAMES.agentbus }), of({ ...latency, system: NAMES.noLedger })),
        more,
        (value) => value <= bound,
      )
    }
    const queued = Number(given['queued'])
    for (const finished of [0, Number(given['old'])].filter((value, at) => at === 0 || value > 0)) {
      hold(
        `rebuild of ${queued} jobs under ${BOUND.rebuildSeconds} s${finished === 0 ? '' : ` with ${finished} finished jobs`}, ${on}`,
        of({ section: 'recovery', figure: `until ${queued} jobs are entries again`, system: NAMES.agentbus, way: 'processes', queues, finished }),
        (value) => `${value.toFixed(1)} s`,
        (value) => value < BOUND.rebuildSeconds,
      )
    }
    list.push(...oldCosts(of, queues, on, Number(given['old'])))
    const memory = { section: 'memory', system: NAMES.agentbus, way: 'processes', queues } as const
    hold(
      `${String(given['agents'])} agents within ${BOUND.memoryGib} GiB for all of agentbus's own processes, ${on}`,
      of({ ...memory, figure: `API and worker, ${String(given['agents'])} agents` }),
      (value) => `${(value / GIB).toFixed(2)} GiB`,
      (value) => value / GIB <= BOUND.memoryGib,
    )
    hold(
      `idle CPU under ${BOUND.idlePercent} % of a core with ${String(given['agents'])} agents, ${on}`,
      of({ ...memory, figure: `idle, API and worker, ${String(given['agents'])} agents` }),
      (value) => `${value.toFixed(1)} %`,
      (value) => value < BOUND.idlePercent,
    )
  }
  return list
}

/** What finished jobs cost: a share of the rate, or of the latency. */
function oldCosts(of: (wanted: Wanted) => number | undefined, queues: 'redis' | 'postgres', on: string, finished: number): Verdict[] {
  const list: Verdict[] = []
  if (finished === 0) return list
  const figures = [
    { section: 'enqueue', figure: 'one by one', what: 'the enqueue rate' },
    { section: 'rate', figure: 'enqueued one by one', what: 'the end-to-end rate' },
    { section: 'latency', figure: 'p50', what: 'latency p50' },
  ] as const
  for (const way of ['HTTP', 'in process'] as const) {
    for (const { section, figure, what } of figures) {
      const young = of({ section, figure, system: NAMES.agentbus, way, queues })
      const old = of({ section, figure, system: NAMES.agentbus, way, queues, finished })
      if (young === undefined || old === undefined) continue
      const cost = section === 'latency' ? old / young - 1 : 1 - old / young
      const measured = cost > 0 ? `${(100 * cost).toFixed(1)} %` : `nothing (${(-100 * cost).toFixed(1)} % better)`
      list.push({ target: `${finished} finished jobs cost ${what} at most ${100 * BOUND.oldCost} %, ${way}, ${on}`, measured, met: cost <= BOUND.oldCost })
    }
  }
  return list
}
