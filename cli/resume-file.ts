import { readFile } from 'node:fs/promises'
import { messageOf } from '../contracts/errors.js'
import { parseState, type VerifyInputs, type VerifyState } from '../ledger/verify/verify-state.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import { oneLine } from './printable.js'

/** The run that is about to begin; a state goes on only in one like that which it was written by. */
export interface NextRun {
  readonly ledger: string
  readonly since: string | null
  readonly inputs: VerifyInputs
}

/**
 * What an earlier `agentbus verify --resume` wrote down; undefined when there is no such file.
 * @throws CliError when the file cannot be read, is no state, or is that of another run
 */
export async function readState(file: string, next: NextRun): Promise<VerifyState | undefined> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new CliError(`${file} cannot be read, so nothing was checked: ${oneLine(messageOf(error))}. Name a file that can be read and written.`, EXIT.usage)
  })
  if (text === undefined) return undefined
  const refuse = (why: string): CliError => new CliError(`${file} cannot be resumed: ${oneLine(why)}. Remove it to begin anew.`, EXIT.usage)
  let written: unknown
  try {
    written = JSON.parse(text)
  } catch {
    throw refuse('it is not JSON')
  }
  const parsed = parseState(written)
  if ('fault' in parsed) throw refuse(parsed.fault)
  const { state } = parsed
  if (state.ledger !== next.ledger) throw refuse('it belongs to another ledger')
  if (state.since !== next.since) throw refuse('it was begun with another --since')
  const other = otherInputs(state.inputs, next.inputs)
  if (other.length > 0) throw refuse(`it was begun ${other.join(' and ')}; this run is not. Give it the same again`)
  return state
}

/** What the earlier run had and the next has not, or the other way round. */
function otherInputs(then: VerifyInputs, now: VerifyInputs): string[] {
  const list = (what: string, values: readonly string[]): string => (values.length === 0 ? `without ${what}` : `with ${what} ${values.join(', ')}`)
  return [
    ...(then.anchors.join() === now.anchors.join() ? [] : [list('--anchor', then.anchors)]),
    ...(then.keys.join() === now.keys.join() ? [] : [list('the public key', then.keys)]),
    ...(then.secret === now.secret ? [] : [`${then.secret ? 'with' : 'without'} the secret of this ledger (AGENTBUS_SECRET)`]),
  ]
}
