import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import { oneLine } from './printable.js'

/** A day, or a time with or without an offset. `Date.parse` alone would read `5` as May 2001, and `11/12/2026` as Americans do. */
const ISO_8601 = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?)?$/i

/** The value of an option that is a time, in ISO 8601 and UTC. @throws CliError when it is none */
export function timeOption(name: string, text: string): string {
  const ms = ISO_8601.test(text) && isDay(text.slice(0, 10)) ? Date.parse(text) : NaN
  if (Number.isNaN(ms)) throw new CliError(`${name} ${oneLine(text, 100)} is not a time; give it as 2026-11-20T00:00:00Z.`, EXIT.usage)
  return new Date(ms).toISOString()
}

/** Whether there is such a day: `Date.parse` would take the 30th of February for the 2nd of March. */
function isDay(date: string): boolean {
  const ms = Date.parse(`${date}T00:00:00Z`)
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(date)
}
