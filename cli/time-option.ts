import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import { oneLine } from './printable.js'

/** The value of an option that is a time, in ISO 8601 and UTC. @throws CliError when it is none */
export function timeOption(name: string, text: string): string {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw new CliError(`${name} ${oneLine(text, 100)} is not a time; give it as 2026-11-20T00:00:00Z.`, EXIT.usage)
  return new Date(ms).toISOString()
}
