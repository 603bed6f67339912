import { Option, type Command } from 'commander'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import type { ApiClient, ApiRequest } from './api-client.js'
import { registerApply } from './apply-command.js'
import type { CommandRow, OptionRow, OptionType } from './command-row.js'
import { COMMANDS } from './command-table.js'
import { addConnection, addIdempotencyKey, addIfVersion, clientOf, idempotencyKeyOf, ifVersionOf, orderPath, pathId, type Values } from './connection.js'
import { registerDelegate, waitMsOf } from './delegate-command.js'
import { followJob, followSecondsOf } from './follow-job.js'
import { JsonInput } from './json-input.js'
import type { Json } from './json.js'
import { print } from './print.js'
import { hasMissed, show } from './show.js'
import { registerSetOrder } from './set-order-command.js'
import { registerDefineWorkflow, registerSetSubscription } from './hand-off-files.js'
import { registerStops } from './stop-commands.js'
import { registerTokens } from './token-commands.js'
import { registerWorkspace } from './workspace-command.js'

/** Registers every command that talks to the API, and `workspace`. */
export function registerClientCommands(program: Command, io: Io): void {
  for (const row of COMMANDS) registerRow(program, row, io)
  registerApply(program, io)
  registerSetOrder(program, io)
  registerSetSubscription(program, io)
  registerDefineWorkflow(program, io)
  registerDelegate(program, io)
  registerStops(program, io)
  registerTokens(program, io)
  registerWorkspace(program, io)
}

function registerRow(program: Command, row: CommandRow, io: Io): void {
  const command = program.command(row.name).description(row.help).helpGroup(`${row.group}:`)
  if (row.argument !== undefined) command.argument(`<${row.argument}>`)
  for (const option of row.options) addOption(command, option)
  if (row.method !== 'GET') addIdempotencyKey(command)
  if (row.conditional === true) addIfVersion(command)
  if (row.follows === true) command.option('--follow [seconds]', 'wait until it ends (default: 60 s) and show its whole history')
  if (row.paged === true) command.option('--all', 'every page')
  addConnection(command)
  command.action(async (...given: unknown[]) => {
    await run(row, row.argument === undefined ? undefined : String(given[0]), command.opts<Values>(), io)
  })
}

/** What stands for the value in the help. */
const PLACES: Readonly<Record<OptionType, string>> = { text: '<text>', 'text-or-none': '<text|none>', int: '<n>', json: '<json|@file|->', list: '<text>' }

function addOption(command: Command, option: OptionRow): void {
  const made = new Option(`--${option.flag} ${PLACES[option.type]}`, option.help)
  if (option.required === true) made.makeOptionMandatory()
  if (option.type === 'list') made.argParser((next: string, soFar: string[] | undefined) => [...(soFar ?? []), next])
  command.addOption(made)
}

async function run(row: CommandRow, id: string | undefined, values: Values, io: Io): Promise<void> {
  const wait = row.waits === true ? values['wait'] : undefined
  const client = clientOf(values, io, typeof wait === 'string' ? { waitMs: waitMsOf(wait) } : {})
  const followSeconds = followSecondsOf(values)
  const path = id === undefined ? row.path : pathOf(row, id)
  const [idempotencyKey, ifVersion] = [idempotencyKeyOf(values), ifVersionOf(values)]
  const hasBody = row.method === 'POST' || row.method === 'PUT'
  const inQuery = row.options.filter((option) => !hasBody || option.inQuery === true)
  const inBody = row.options.filter((option) => !inQuery.includes(option))
  const request: ApiRequest = {
    method: row.method,
    path,
    query: queryOf(await collect(inQuery, values, io)),
    ...(hasBody ? { body: { ...row.fixed, ...(await collect(inBody, values, io)) } } : {}),
    idempotencyKey,
    ifVersion,
  }
  const answer = values['all'] === true ? await allPages(client, request) : await client.call(request)
  if (followSeconds !== undefined) return followJob(client, answer, { seconds: followSeconds, values, io })
  print(values, io, answer, () => show(row.show, answer))
  if (row.failsOn === 'missed' && hasMissed(answer)) throw new CliError('Slots were missed in this window.', EXIT.unexpected)
}

function pathOf(row: CommandRow, id: string): string {
  return row.argument === 'agent/name' ? row.path.replace('{agent}/{name}', orderPath(id)) : row.path.replace(/\{\w+\}/, pathId(row.argument ?? 'id', id))
}

async function collect(options: readonly OptionRow[], values: Values, io: Io): Promise<Json> {
  const json = new JsonInput(io)
  const input: Json = {}
  for (const option of options) {
    const value = values[camel(option.flag)]
    if (value !== undefined) input[option.field] = await convert(option, value, json)
  }
  return input
}

async function convert(option: OptionRow, value: unknown, json: JsonInput): Promise<unknown> {
  if (option.type === 'json') return json.read(`--${option.flag}`, String(value))
  if (option.type === 'text-or-none' && value === 'none') return null
  if (option.type !== 'int') return value
  if (!/^-?\d{1,15}$/.test(String(value))) throw new CliError(`--${option.flag} must be a whole number.`, EXIT.usage)
  return Number(value)
}

function queryOf(input: Json): NonNullable<ApiRequest['query']> {
  return Object.fromEntries(Object.entries(input).map(([name, value]) => [name, typeof value === 'number' ? value : String(value)]))
}

function camel(flag: string): string {
  return flag.replace(/-(\w)/g, (_match, letter: string) => letter.toUpperCase())
}

/** Follows the cursors to the end, from `--cursor` when one was given. */
async function allPages(client: ApiClient, request: ApiRequest): Promise<Json> {
  const items: unknown[] = []
  const seen = new Set<string>()
  let cursor = request.query?.['cursor']
  for (;;) {
    const page = await client.call({ ...request, query: { ...request.query, limit: 200, cursor } })
    if (Array.isArray(page['items'])) items.push(...(page['items'] as unknown[]))
    const next = page['next_cursor']
    if (typeof next !== 'string') return { items, next_cursor: null }
    // A server that answers a cursor twice would keep this loop going for ever.
    if (seen.has(next)) throw new CliError('The API answered the same cursor twice. Page by hand with --cursor.', EXIT.unexpected)
    seen.add(next)
    cursor = next
  }
}
