import type { Command } from 'commander'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { oneLine } from '../printable.js'
import { timeOption } from '../time-option.js'
import { addConnection, addIdempotencyKey, clientOf, idempotencyKeyOf, type Values } from './connection.js'
import type { Json } from './json.js'
import { print } from './print.js'
import { show } from './show.js'

const FREEZABLE = ['promotions', 'conversions']

/** `pause`, `resume`, `drain`, `freeze` and `unfreeze`. */
export function registerStops(program: Command, io: Io): void {
  const pause = scoped(command(program, 'pause', 'start nothing new in everything, a lane, an agent, a gateway or a standing order'))
  lasting(pause.option('--running <leave|cancel>', 'what becomes of what runs already (default: leave)'))
  finish(pause, io, (values) => ({ path: '/v1/controls', body: { action: 'pause', ...scopeOf(values), ...endOf(values), ...given(values, ['running']) } }))

  const resume = scoped(command(program, 'resume', 'let work start again; what was held starts by itself'))
  finish(resume, io, (values) => ({ path: '/v1/controls/resume', body: scopeOf(values) }))

  const drain = lasting(command(program, 'drain', 'start nothing new for an agent, and be told when nothing of it runs any more').argument('<agent>'))
  finish(drain, io, (values, agent) => ({ path: '/v1/controls', body: { action: 'drain', scope: 'agent', target: agent, ...endOf(values) } }))

  const freeze = lasting(command(program, 'freeze', 'refuse promotions of ideas and candidates, or conversions of opportunities, for a while').argument('<promotions|conversions>'))
  finish(freeze, io, (values, what) => ({ path: '/v1/controls', body: { action: 'freeze', scope: freezable(what), ...endOf(values) } }))

  const unfreeze = command(program, 'unfreeze', 'let promotions or conversions go on').argument('<promotions|conversions>')
  finish(unfreeze, io, (_values, what) => ({ path: '/v1/controls/resume', body: { scope: freezable(what) } }))
}

function command(program: Command, name: string, help: string): Command {
  return program.command(name).description(help).helpGroup('Controls:').requiredOption('--reason <text>', 'why; kept in the history')
}

function scoped(made: Command): Command {
  return made
    .option('--everything', 'all work of all agents')
    .option('--lane <lane>', 'a lane, of any agent')
    .option('--agent <agent>', 'an agent')
    .option('--gateway <gateway>', 'every agent of a gateway')
    .option('--order <agent/name>', 'a standing order')
}

function lasting(made: Command): Command {
  return made
    .option('--for <duration>', 'end by itself after so long: 45s, 30m, 12h or 7d')
    .option('--until <time>', 'end by itself at this time (ISO 8601)')
    .option('--replace', 'take the place of one that is in force there with another action or end')
}

type Request = (values: Values, argument: string) => { readonly path: string; readonly body: Json }

function finish(made: Command, io: Io, request: Request): void {
  addIdempotencyKey(made)
  addConnection(made)
  made.action(async (...args: unknown[]) => {
    const values = made.opts<Values>()
    const { path, body } = request(values, typeof args[0] === 'string' ? args[0] : '')
    const answer = await clientOf(values, io).call({ method: 'POST', path, body: { ...body, reason: values['reason'] }, idempotencyKey: idempotencyKeyOf(values) })
    print(values, io, answer, () => show('control', answer))
  })
}

/** Exactly one scope, so that a forgotten flag never stops everything. @throws CliError (usage) */
function scopeOf(values: Values): Json {
  const named = ['lane', 'agent', 'gateway', 'order'].filter((scope) => values[scope] !== undefined)
  const scopes = values['everything'] === true ? ['everything', ...named] : named
  const [scope] = scopes
  if (scope === undefined || scopes.length > 1) throw new CliError('Give exactly one of --everything, --lane, --agent, --gateway and --order.', EXIT.usage)
  return scope === 'everything' ? { scope } : { scope, target: values[scope] }
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }

function endOf(values: Values): Json {
  const replace = values['replace'] === true ? { replace: true } : {}
  if (values['until'] !== undefined && values['for'] !== undefined) throw new CliError('Give either --for or --until.', EXIT.usage)
  if (values['until'] !== undefined) return { ...replace, until: timeOption('--until', String(values['until'])) }
  if (values['for'] === undefined) return replace
  const text = String(values['for'])
  const [, amount, unit] = /^(\d{1,8})([smhd])$/.exec(text) ?? []
  if (amount === undefined || Number(amount) === 0) throw new CliError(`--for ${oneLine(text, 100)} is not a duration; give it as 45s, 30m, 12h or 7d.`, EXIT.usage)
  return { ...replace, for_seconds: Number(amount) * (SECONDS[unit ?? ''] ?? 1) }
}

function given(values: Values, names: readonly string[]): Json {
  return Object.fromEntries(names.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])))
}

function freezable(what: string): string {
  if (FREEZABLE.includes(what)) return what
  throw new CliError(`${oneLine(what, 100)} cannot be frozen; promotions and conversions can.`, EXIT.usage)
}
