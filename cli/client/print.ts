import type { Io } from '../io.js'
import { jsonText } from '../printable.js'
import type { Values } from './connection.js'

/** Writes an answer: as JSON and nothing else when `--json` was given, else as text for people. */
export function print(values: Values, io: Io, answer: unknown, forPeople: () => string): void {
  io.stdout.write(values['json'] === true ? `${jsonText(answer)}\n` : forPeople())
}
