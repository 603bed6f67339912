import type { Command } from 'commander'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { ApiClient } from './api-client.js'

/** The options of a command as commander gives them. */
export type Values = Record<string, unknown>

/** What the API has to answer within, in milliseconds, beyond what it was asked to wait. */
const ANSWER_MS = 10_000
const DEFAULT_URL = 'http://127.0.0.1:7717'

/** `--url`, `--token` and `--json`, on every command that calls the API. */
export function addConnection(command: Command): void {
  command.option('--url <url>', 'where the API is (AGENTBUS_URL)').option('--token <token>', 'bearer token (AGENTBUS_TOKEN)')
  addJson(command)
}

export function addJson(command: Command): void {
  command.option('--json', 'JSON on stdout and nothing else')
}

/**
 * The two settings that a client needs, with the rules of config/settings.ts. That file is not used here: it loads
 * a schema library, and a fault in a setting of the server must not stop an agent from closing its job.
 * `waitMs` is how long the API was asked to wait.
 * @throws CliError (usage) which quotes neither value
 */
export function clientOf(values: Values, io: Io, options: { readonly waitMs?: number } = {}): ApiClient {
  return new ApiClient({ url: apiUrlOf(values, io, 'url'), token: tokenOf(values, io), ...(options.waitMs === undefined ? {} : { totalMs: options.waitMs + ANSWER_MS }) })
}

/** The API's address: the option, else AGENTBUS_URL, else this machine. */
export function apiUrlOf(values: Values, io: Io, option: 'url' | 'apiUrl'): string {
  const given = values[option]
  const name = typeof given === 'string' ? `--${option === 'url' ? 'url' : 'api-url'}` : 'AGENTBUS_URL'
  const text = typeof given === 'string' ? given : (io.env['AGENTBUS_URL'] ?? DEFAULT_URL)
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) throw new CliError(`${name} must be a URL that starts with http:// or https://.`, EXIT.usage)
  const url = new URL(text)
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new CliError(`${name} must carry no user, password, query or fragment.`, EXIT.usage)
  }
  return url.href.replace(/\/+$/, '')
}

function tokenOf(values: Values, io: Io): string {
  const given = values['token']
  const name = typeof given === 'string' ? '--token' : 'AGENTBUS_TOKEN'
  const token = typeof given === 'string' ? given : (io.env['AGENTBUS_TOKEN'] ?? '')
  if (token === '') throw new CliError('No token was given. Set AGENTBUS_TOKEN or use --token; an operator makes one with `agentbus token create`.', EXIT.refused)
  if (!/^[\x21-\x7e]{1,4096}$/.test(token)) throw new CliError(`${name} holds a space, a line break or another character that no token has. Copy it again.`, EXIT.usage)
  return token
}

/** `--idempotency-key`, on every command that changes something. */
export function addIdempotencyKey(command: Command): void {
  command.option('--idempotency-key <key>', 'the same key and request are carried out once (default: a new key)')
}

/** @throws CliError (usage) */
export function idempotencyKeyOf(values: Values): string | undefined {
  const key = values['idempotencyKey']
  if (key === undefined) return undefined
  if (typeof key === 'string' && /^[\x21-\x7e]{1,200}$/.test(key)) return key
  throw new CliError('--idempotency-key must be 1 to 200 visible ASCII characters, without spaces.', EXIT.usage)
}

/**
 * An id as a segment of a path. An id of another form is refused here, because `..` would name another path, and
 * a token put where the id belongs would end up in the logs of whatever stands between.
 * @throws CliError (usage)
 */
export function pathId(name: string, value: string): string {
  if (/^(aat|abt)_[A-Za-z0-9_-]{20,}$/.test(value)) throw new CliError(`<${name}> is a token, not an id. Give the id here, and the token with --token.`, EXIT.usage)
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(value)) throw new CliError(`<${name}> is not an id: letters, digits, dot, underscore and hyphen, at most 100.`, EXIT.usage)
  return value
}

/**
 * `agent/name` of a standing order as two segments of a path.
 * @throws CliError (usage)
 */
export function orderPath(value: string): string {
  const [agent = '', name = '', ...rest] = value.split('/')
  if (rest.length > 0 || !/^[a-z0-9][a-z0-9._-]{0,99}$/.test(name)) throw new CliError('<agent/name> is not the name of a standing order, such as devops/disk-check.', EXIT.usage)
  return `${pathId('agent/name', agent)}/${name}`
}

/** `--if-version`. @throws CliError (usage) */
export function ifVersionOf(values: Values): number | undefined {
  const given = values['ifVersion']
  if (given === undefined) return undefined
  if (!/^\d{1,9}$/.test(String(given))) throw new CliError('--if-version must be the version that was shown, a whole number.', EXIT.usage)
  return Number(given)
}

export function addIfVersion(command: Command): void {
  command.option('--if-version <n>', 'only if it is still at this version')
}
