import { NAMES } from './contestants.js'
import type { Figure, Results, Section } from './figure.js'
import { median, medianInterval } from './figures.js'

/** A target of the project, and what the figures say of it. Nothing here is typed in but the bounds. */
export interface Verdict {
  readonly target: string
  readonly measured: string
  readonly met: boolean
  /** By the median it is met, but the interval that the median lies in reaches beyond the bound. */
  readonly isClose?: boolean
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
    list.push(...oldCosts(figures, queues, on))
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

/** What finished jobs cost, in the figures of the section `age` that have a target. */
const OLD_COSTS = ['enqueue rate', 'end-to-end rate', 'latency p50'] as const

function oldCosts(figures: readonly Figure[], queues: 'redis' | 'postgres', on: string): Verdict[] {
  return costsOfAge(figures)
    .filter((one) => one.queues === queues && (OLD_COSTS as readonly string[]).includes(one.figure))
    .flatMap(({ figure, way, finished, costs }) => {
      const target = `${finished} finished jobs cost the ${figure} at most ${100 * BOUND.oldCost} %, ${way}, ${on}`
      const to = medianInterval(costs)?.[1] ?? Infinity
      return [{ target, measured: costShown(costs), met: median(costs) <= BOUND.oldCost, isClose: median(costs) <= BOUND.oldCost && to > BOUND.oldCost }]
    })
}

/** A cost as the page shows it: the median, and where it lies with 95 % when there are pairs enough to say. */
export function costShown(costs: readonly number[]): string {
  const percent = (share: number): string => (Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : 'does not keep up')
  const interval = medianInterval(costs)
  return `${percent(median(costs))}${interval === undefined ? '' : ` (${interval.map(percent).join(' to ')})`}`
}

/** What finished jobs cost one figure of one system: for each pair of slices a share of the rate, or of the time. */
export interface CostOfAge extends Pick<Figure, 'figure' | 'way' | 'queues' | 'finished'> {
  readonly young: Figure
  readonly old: Figure
  readonly costs: readonly number[]
}

/** A full ledger that could not keep up where an empty one could has no end of cost; a pair in which the empty one could not says nothing. */
export function costsOfAge(figures: readonly Figure[]): CostOfAge[] {
  const ofAge = figures.filter(({ section }) => section === 'age')
  return ofAge
    .filter(({ finished }) => finished > 0)
    .flatMap((old) => {
      const young = ofAge.find((one) => one.finished === 0 && one.figure === old.figure && one.way === old.way && one.queues === old.queues)
      if (young === undefined) return []
      const costs = old.values.flatMap((value, at) => {
        const before = young.values[at]
        if (before === null || before === undefined) return []
        if (value === null) return [Infinity]
        return [old.unit === 'ms' ? value / before - 1 : 1 - value / before]
      })
      return costs.length === 0 ? [] : [{ figure: old.figure, way: old.way, queues: old.queues, finished: old.finished, young, old, costs }]
    })
}
