/** For how long what the ledger was asked is believed, in milliseconds since the question. */
const BELIEVED_MS = 1_000
/** From this age on whoever uses it has it asked again, and does not wait: at a few requests a second none ever has to. */
const AGEING_MS = 700

/** How an answer may be used: `fresh` as it is, `ageing` as well but ask again, `old` not any more. */
export type Age = 'fresh' | 'ageing' | 'old'

/** How old an answer is to a question that was asked at `askedMs`; undefined for one that never changes. */
export function ageOf(askedMs: number | undefined, nowMs: number): Age {
  if (askedMs === undefined) return 'fresh'
  const age = nowMs - askedMs
  // Below zero after the clock was set back, for who knows how long.
  if (age < 0 || age >= BELIEVED_MS) return 'old'
  return age >= AGEING_MS ? 'ageing' : 'fresh'
}
