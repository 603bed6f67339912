/*
 * What agents, gateways and senders wrote must not steer the terminal of whoever reads it: C0 and C1 controls can move
 * the cursor and set colours, and bidirectional overrides can show text in another order than it has.
 */

const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Text of several lines that is safe on a terminal. */
export function printable(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(STEERING, '\uFFFD')
}

/** The same in one line, cut at `max` characters. */
export function oneLine(text: string, max = 2_000): string {
  const line = printable(text.replace(/[\r\n\t\u2028\u2029]+/g, ' '))
  return line.length > max ? `${line.slice(0, max - 1).replace(/[\uD800-\uDBFF]$/, '')}…` : line
}

/** JSON for programs that is harmless on a terminal too: what would steer it is escaped, so the value stays the same. */
export function jsonText(value: unknown, { indent }: { readonly indent: number } = { indent: 2 }): string {
  const text = JSON.stringify(value, undefined, indent)
  return text.replace(STEERING, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const TOKENS = /(?<![A-Za-z0-9])(aat|abt)_[A-Za-z0-9_-]{8,}/g

/** Cuts tokens out of what is said about a failure: all that look like one, and those that this command was given. */
export function withoutTokens(text: string, given: readonly (string | undefined)[]): string {
  let safe = text
  for (const token of given) if (token !== undefined && token.length >= 8) safe = safe.replaceAll(token, '[token]')
  return safe.replace(TOKENS, '$1_[token]')
}
