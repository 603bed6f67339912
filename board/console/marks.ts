import type { Pulse } from '../../ledger/console/pulse.js'

/** What a page, or a stream, has seen: how far the append-only tables went, and the event after which its tail goes on. */
export interface Mark {
  readonly pulse: Pulse
  /** The id of an event. */
  readonly floor: string
}

/** The parts of a mark in their order: the one place that knows how many there are. */
const PARTS = ['moves', 'events', 'observed', 'agents', 'controls', 'alerts'] as const satisfies readonly (keyof Pulse)[]
/** Digits of a part, at most. */
const DIGITS = 18

/** The longest mark that {@link markOf} makes. */
export const LONGEST_MARK = (PARTS.length + 1) * (DIGITS + 1)

/** Equal for two looks between which nothing has happened. */
export const keyOf = (pulse: Pulse): string => PARTS.map((part) => pulse[part]).join('.')

/** A mark as text: the id of what a stream says, and the `last` with which a page opens its stream. {@link marksOf} reads it back. */
export const markOf = ({ pulse, floor }: Mark): string => `${keyOf(pulse)}.${floor}`

/** What a browser that comes again has seen. Anything else than what was given out counts as nothing. */
export function marksOf(last: string | undefined): Mark | undefined {
  const numbers = last?.split('.') ?? []
  if (numbers.length !== PARTS.length + 1 || numbers.some((one) => !/^\d+$/.test(one) || one.length > DIGITS)) return undefined
  const [moves = '', events = '', observed = '', agents = '', controls = '', alerts = '', floor = ''] = numbers
  return { pulse: { moves, events, observed, agents, controls, alerts }, floor }
}
