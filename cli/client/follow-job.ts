import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
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
  const path = `/v1/jobs/${String(job['id'])}`
  const endMs = performance.now() + options.seconds * 1_000
  let status = String(job['status'])
  while (!OVER.has(status) && performance.now() < endMs) {
    await sleep(POLL_MS)
    status = String((await client.call({ method: 'GET', path }))['status'])
  }
  const history = await client.call({ method: 'GET', path: `${path}/history` })
  print(options.values, options.io, history, () => historyLines(history))
  if (status === 'succeeded') return
  const wait = OVER.has(status) ? '' : ` after ${options.seconds} s. It goes on; see \`agentbus history ${String(job['id'])}\``
  throw new CliError(`The job is ${status}${wait}.`, EXIT.unexpected)
}
