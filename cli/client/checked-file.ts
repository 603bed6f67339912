import path from 'node:path'
import { isCode } from '../../contracts/errors.js'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'

/**
 * A file that is checked here, where its lines are known, before anything is sent.
 * @throws CliError (usage) with every fault, each as `file:line:column: fault`
 */
export async function checked<T>(what: string, name: string, io: Io, load: (file: string) => Promise<T>): Promise<T> {
  const file = path.resolve(io.cwd, name)
  try {
    return await load(file)
  } catch (error) {
    if (!isCode(error, 'AGENTBUS_CONFIG')) throw error
    const faults = error.message.split('\n').map((line) => (line.startsWith(file) ? `${name}${line.slice(file.length)}` : line))
    const next = `Correct the ${what}; nothing was sent.`
    throw new CliError([...faults, next].join('\n'), EXIT.usage, { title: `The ${what} is not valid`, detail: faults[0], faults, next, exit_code: EXIT.usage })
  }
}
