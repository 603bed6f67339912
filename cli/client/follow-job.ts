import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { oneLine } from '../printable.js'
import type { ApiClient } from './api-client.js'
import type { Values } from './connection.js'
import type { Json } from './json.js'
import { print } from './print.js'
import { historyLines } from './show.js'

const OVER = new Set(['succeeded', 'failed', 'dead', 'cancelled', 'blocked'])
const DEFAULT_SECONDS = 60
const POLL_MS = 200

/** How long `--follow` waits, or undefined without it. Read before the job is created. @throws CliError (usage) */
export function followSecondsOf(values: Values): number | undefined {
  const given = values['follow']
  if (given === undefined) return undefined
  if (typeof given !== 'string') return DEFAULT_SECONDS
  if (!/^\d{1,6}(\.\d{1,3})?$/.test(given)) throw new CliError('--follow is not a number of seconds. Nothing was sent.', EXIT.usage)
  return Number(given)
}

/** Waits until the job ends or is blocked, then shows its history. @throws CliError unless it succeeded */
export async function followJob(client: ApiClient, job: Json, options: { readonly seconds: number; readonly values: Values; readonly io: Io }): Promise<void> {
  const id = String(job['id'])
  const endMs = performance.now() + options.seconds * 1_000
  let status = String(job['status'])
  while (!OVER.has(status) && performance.now() < endMs) {
    await sleep(POLL_MS)
    status = String((await look(client, id, ''))['status'])
  }
  const history = await look(client, id, '/history')
  print(options.values, options.io, history, () => historyLines(history))
  if (status === 'succeeded') return
  const wait = OVER.has(status) ? '' : ` after ${options.seconds} s. It goes on; see \`agentbus history ${id}\``
  throw new CliError(`The job is ${status}${wait}.`, EXIT.unexpected)
}

/** @throws CliError which names the job, and never with a code that says to run the command again: that would make a second job */
async function look(client: ApiClient, id: string, what: '' | '/history'): Promise<Json> {
  try {
    return await client.call({ method: 'GET', path: `/v1/jobs/${id}${what}` })
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    const why = oneLine(String(error.problem?.['detail'] ?? error.message)).replace(/\.$/, '')
    const next = `The job was created; see \`agentbus history ${id}\`.`
    throw new CliError(`${why}. ${next}`, EXIT.unexpected, { ...error.problem, next, job_id: id, exit_code: EXIT.unexpected })
  }
}
