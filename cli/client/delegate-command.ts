import type { Command } from 'commander'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { addConnection, addIdempotencyKey, clientOf, idempotencyKeyOf, pathId, type Values } from './connection.js'
import { JsonInput } from './json-input.js'
import type { Json } from './json.js'
import { print } from './print.js'
import { show } from './show.js'

const SUBJECT_CHARS = 200

/** `delegate`: hand work to an agent and wait for what comes of it. */
export function registerDelegate(program: Command, io: Io): void {
  const command = program
    .command('delegate')
    .description('hand work to an agent and wait for its result')
    .helpGroup('Work:')
    .argument('<agent>')
    .argument('<instruction>')
    .option('--namespace <text>', 'namespace (default: default)')
    .option('--wait <time>', 'how long to wait, such as 30s or 5m', '60s')
    .option('--job-type <text>', 'kind of work', 'delegation')
    .option('--payload <json|@file|->', 'more for the agent, as a JSON object')
    .option('--priority <n>', '1 to 1000; 1000 is most urgent')
    .option('--parent-job-id <text>', 'the job it came from')
    .option('--correlation-key <text>', 'groups everything about one matter')
    .option('--source-agent <text>', 'who asks for it')
  addIdempotencyKey(command)
  addConnection(command)
  command.action((agent: string, instruction: string) => delegate(agent, instruction, command.opts<Values>(), io))
}

/** @throws CliError unless the job has succeeded within the wait */
async function delegate(agent: string, instruction: string, values: Values, io: Io): Promise<void> {
  const wait = String(values['wait'])
  const client = clientOf(values, io, { waitMs: waitMsOf(wait) })
  const payload = values['payload'] === undefined ? {} : objectIn(await new JsonInput(io).read('--payload', String(values['payload'])))
  const given = {
    namespace: values['namespace'],
    priority: wholeOf(values['priority']),
    parent_job_id: values['parentJobId'],
    correlation_key: values['correlationKey'],
    source_agent: values['sourceAgent'],
  }
  const body = {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    target_agent: pathId('agent', agent),
    job_type: values['jobType'],
    subject: instruction.split('\n')[0]?.slice(0, SUBJECT_CHARS) ?? '',
    payload: { ...payload, instruction },
  }
  const job = await client.call({ method: 'POST', path: '/v1/jobs', query: { wait }, body, idempotencyKey: idempotencyKeyOf(values) })
  print(values, io, job, () => show('job', job))
  const status = String(job['status'])
  if (status === 'succeeded') return
  const isOver = job['finished_at'] !== null
  throw new CliError(isOver ? `The job is ${status}.` : `The job is ${status} after ${wait}. It goes on; see \`agentbus result ${String(job['id'])} --wait 60s\`.`, EXIT.unexpected)
}

/** As the API has it. A longer wait would also be more than a timer takes: the request would seem to fail at once. */
const LONGEST_WAIT_MS = 300_000

/** Milliseconds of a wait as the API reads it. @throws CliError (usage) */
export function waitMsOf(text: string): number {
  const [, amount, unit] = /^(\d{1,6})(ms|s|m)$/.exec(text) ?? []
  if (amount === undefined) throw new CliError('--wait must be a number with ms, s or m, such as 30s. Nothing was sent.', EXIT.usage)
  const ms = Number(amount) * (unit === 'ms' ? 1 : unit === 's' ? 1_000 : 60_000)
  if (ms > LONGEST_WAIT_MS) throw new CliError('--wait is at most five minutes. Nothing was sent.', EXIT.usage)
  return ms
}

function objectIn(value: unknown): Json {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new CliError('--payload must be a JSON object.', EXIT.usage)
  return value as Json
}

function wholeOf(value: unknown): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string' || !/^\d{1,9}$/.test(value)) throw new CliError('--priority must be a whole number.', EXIT.usage)
  return Number(value)
}
