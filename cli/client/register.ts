import { setTimeout as sleep } from 'node:timers/promises'
import { Option, type Command } from 'commander'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { ApiClient, type ApiRequest } from './api-client.js'
import { COMMANDS, type CommandRow, type OptionRow } from './command-table.js'
import { JsonInput } from './json-input.js'
import { historyLines, show } from './show.js'

type Values = Record<string, unknown>

/** Registers every command of the table. */
export function registerClientCommands(program: Command, io: Io): void {
  for (const row of COMMANDS) {
    const command = program.command(row.name).description(row.help).helpGroup(`${row.group}:`)
    if (row.argument !== undefined) command.argument(`<${row.argument}>`)
    for (const option of row.options) addOption(command, option)
    if (row.method === 'POST') command.option('--idempotency-key <key>', 'the same key and request are carried out once')
    if (row.conditional === true) command.option('--if-version <n>', 'only if the job is still at this version')
    if (row.name === 'enqueue-job') command.option('--follow [seconds]', 'wait until it ends (default: 60 s) and show its whole history')
    if (row.name === 'jobs' || row.name === 'events') command.option('--all', 'every page')
    addConnection(command)
    command.action(async (...given: unknown[]) => {
      const id = row.argument === undefined ? undefined : String(given[0])
      await run(row, id, command.opts<Values>(), io)
    })
  }
}

/** `--url`, `--token` and `--json`, on every command. */
export function addConnection(command: Command): void {
  command.option('--url <url>', 'where the API is (AGENTBUS_URL)').option('--token <token>', 'bearer token (AGENTBUS_TOKEN)').option('--json', 'JSON on stdout and nothing else')
}

function addOption(command: Command, option: OptionRow): void {
  const value = option.type === 'json' ? '<json|@file|->' : option.type === 'int' ? '<n>' : '<text>'
  const made = new Option(`--${option.flag} ${value}`, option.help)
  if (option.required === true) made.makeOptionMandatory()
  if (option.type === 'list') made.argParser((next: string, so_far: string[] | undefined) => [...(so_far ?? []), next])
  command.addOption(made)
}

export function clientOf(values: Values, io: Io): ApiClient {
  const url = typeof values['url'] === 'string' ? values['url'] : (io.env['AGENTBUS_URL'] ?? 'http://127.0.0.1:7717')
  if (!URL.canParse(url) || !/^https?:/.test(url)) throw new CliError('AGENTBUS_URL (or --url) is not an http(s) URL.', EXIT.usage)
  const token = typeof values['token'] === 'string' ? values['token'] : io.env['AGENTBUS_TOKEN']
  return new ApiClient({ url, token: token === '' ? undefined : token })
}

async function run(row: CommandRow, id: string | undefined, values: Values, io: Io): Promise<void> {
  const client = clientOf(values, io)
  const input = await collect(row.options, values, io)
  const path = id === undefined ? row.path : row.path.replace('{id}', encodeURIComponent(id))
  const request: ApiRequest = {
    method: row.method,
    path,
    ...(row.method === 'GET' ? { query: input as Record<string, string | number> } : { body: input }),
    idempotencyKey: values['idempotencyKey'] as string | undefined,
    ifVersion: values['ifVersion'] as string | undefined,
  }
  const answer = values['all'] === true ? await allPages(client, request) : await client.call(request)
  if (row.name === 'enqueue-job' && values['follow'] !== undefined) {
    await follow(client, answer, values, io)
    return
  }
  print(values, io, answer, () => show(row.show, answer))
}

export function print(values: Values, io: Io, answer: Values, forPeople: () => string): void {
  io.stdout.write(values['json'] === true ? `${JSON.stringify(answer, undefined, 2)}\n` : forPeople())
}

async function collect(options: readonly OptionRow[], values: Values, io: Io): Promise<Values> {
  const json = new JsonInput(io)
  const body: Values = {}
  for (const option of options) {
    const value = values[camel(option.flag)]
    if (value === undefined) continue
    body[option.field] = await convert(option, value, json)
  }
  return body
}

async function convert(option: OptionRow, value: unknown, json: JsonInput): Promise<unknown> {
  if (option.type === 'json') return json.read(`--${option.flag}`, String(value))
  if (option.type !== 'int') return value
  if (!/^-?\d{1,15}$/.test(String(value))) throw new CliError(`--${option.flag}: not a whole number.`, EXIT.usage)
  return Number(value)
}

function camel(flag: string): string {
  return flag.replace(/-(\w)/g, (_match, letter: string) => letter.toUpperCase())
}

async function allPages(client: ApiClient, request: ApiRequest): Promise<Values> {
  const items: unknown[] = []
  let cursor: string | undefined
  do {
    const page = await client.call({ ...request, query: { ...request.query, limit: 200, cursor } })
    if (Array.isArray(page['items'])) items.push(...(page['items'] as unknown[]))
    cursor = typeof page['next_cursor'] === 'string' ? page['next_cursor'] : undefined
  } while (cursor !== undefined)
  return { items, next_cursor: null }
}

const OVER = new Set(['succeeded', 'failed', 'dead', 'cancelled', 'blocked'])

/** Waits until the job ends or is blocked, then shows its history. Exit code 0 only when it succeeded. */
async function follow(client: ApiClient, job: Values, values: Values, io: Io): Promise<void> {
  const seconds = typeof values['follow'] === 'string' ? Number(values['follow']) : 60
  if (!Number.isFinite(seconds) || seconds < 0) throw new CliError('--follow: not a number of seconds.', EXIT.usage)
  const path = `/v1/jobs/${String(job['id'])}`
  const endMs = performance.now() + seconds * 1_000
  let seen = job
  while (!OVER.has(String(seen['status'])) && performance.now() < endMs) {
    await sleep(200)
    seen = await client.call({ method: 'GET', path })
  }
  const history = await client.call({ method: 'GET', path: `${path}/history` })
  print(values, io, history, () => historyLines(history))
  const status = String((history['job'] as Values | undefined)?.['status'])
  if (status !== 'succeeded') throw new CliError(`The job is ${status}.`, EXIT.unexpected)
}
