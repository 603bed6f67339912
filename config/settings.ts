import type { z } from 'zod'
import { AgentbusError } from '../contracts/errors.js'
import { LEASE_FAULT, outlivesWorker } from './lease-rule.js'
import { addressRanges, headerPairs, httpUrl, listenHost, matching, oneOf, path, postgresUrl, redisUrl, whole, yesNo } from './setting-parsers.js'

/** One row of {@link SETTINGS}. `fallback` is text, parsed like anything else; undefined: the setting is optional. */
export interface Setting<T> {
  readonly env: string
  readonly help: string
  readonly secret: boolean
  readonly fallback: string | undefined
  /** What `.env.example` shows for a setting without a default. */
  readonly example: string | undefined
  readonly schema: z.ZodType<T, string>
}

interface Row<T> {
  readonly env: string
  readonly help: string
  readonly schema: z.ZodType<T, string>
  readonly secret?: true
}

function withDefault<T>({ env, help, schema, secret, fallback }: Row<T> & { readonly fallback: string }): Setting<T> {
  return { env, help, schema, secret: secret ?? false, fallback, example: undefined }
}

function optional<T>({ env, help, schema, secret, example }: Row<T> & { readonly example: string }): Setting<T | undefined> {
  return { env, help, schema, secret: secret ?? false, fallback: undefined, example }
}

const visible = (min: number) => matching(new RegExp(`^[\\x21-\\x7e]{${min},4096}$`), `must be at least ${min} visible ASCII characters, without spaces`)

/** Every setting there is, in the order of `.env.example`. A key is the name in camel case, without AGENTBUS_. */
export const SETTINGS = {
  dataDir: withDefault({ env: 'AGENTBUS_DATA_DIR', fallback: '.agentbus', schema: path, help: 'Folder for the embedded stores and for secrets made at the first start.' }),
  databaseUrl: optional({
    env: 'DATABASE_URL',
    example: 'postgres://user:password@host:5432/agentbus',
    schema: postgresUrl,
    secret: true,
    help: 'PostgreSQL (14 or newer, UTF8) that holds the ledger. Not set: an embedded PostgreSQL in the data folder.',
  }),
  redisUrl: optional({
    env: 'REDIS_URL',
    example: 'redis://:password@host:6379/0',
    schema: redisUrl,
    secret: true,
    help: 'Redis or Valkey (noeviction, AOF) that holds the queues. Not set: see AGENTBUS_QUEUE_BACKEND.',
  }),
  queueBackend: withDefault({
    env: 'AGENTBUS_QUEUE_BACKEND',
    fallback: 'auto',
    schema: oneOf(['auto', 'redis', 'postgres']),
    help: 'auto: REDIS_URL, else a private redis-server or valkey-server found on PATH, else PostgreSQL. redis: never PostgreSQL. postgres: never Redis, even when REDIS_URL is set.',
  }),
  queuePrefix: withDefault({
    env: 'AGENTBUS_QUEUE_PREFIX',
    fallback: 'agentbus',
    schema: matching(/^[A-Za-z0-9_-]{1,40}$|^\{[A-Za-z0-9_-]{1,40}\}$/, 'must be 1 to 40 letters, digits, underscores or hyphens, as a whole in braces or not'),
    help: 'Prefix of the queues, so that several installations can share one store.',
  }),
  host: withDefault({ env: 'AGENTBUS_HOST', fallback: '127.0.0.1', schema: listenHost, help: 'Address the API and the board listen on.' }),
  port: withDefault({ env: 'AGENTBUS_PORT', fallback: '7717', schema: whole(0, 65_535), help: 'Port the API and the board listen on; 0 takes any free one.' }),
  headersTimeoutMs: withDefault({
    env: 'AGENTBUS_HEADERS_TIMEOUT_MS',
    fallback: '10000',
    schema: whole(100, 600_000),
    help: 'How long a client may take to send the headers of a request; then its connection is closed. At most AGENTBUS_REQUEST_TIMEOUT_MS.',
  }),
  requestTimeoutMs: withDefault({
    env: 'AGENTBUS_REQUEST_TIMEOUT_MS',
    fallback: '30000',
    schema: whole(100, 3_600_000),
    help: 'How long a client may take to send a whole request, body included; then its connection is closed.',
  }),
  trustedProxies: optional({
    env: 'AGENTBUS_TRUSTED_PROXIES',
    example: '127.0.0.1,10.0.0.0/8,fd00::/8',
    schema: addressRanges,
    help: 'Addresses of your own proxies, whose X-Forwarded-For is believed when wrong tokens are counted per client. Not set: nobody is.',
  }),
  publicUrl: optional({
    env: 'AGENTBUS_PUBLIC_URL',
    example: 'https://agentbus.example.org',
    schema: httpUrl,
    help: 'URL that agents are told to call. Not set: made from host and port.',
  }),
  url: withDefault({ env: 'AGENTBUS_URL', fallback: 'http://127.0.0.1:7717', schema: httpUrl, help: 'Where the command line finds the API.' }),
  token: optional({ env: 'AGENTBUS_TOKEN', example: 'a-token-made-by-agentbus-token-create', schema: visible(1), secret: true, help: 'Bearer token of the command line.' }),
  secret: optional({
    env: 'AGENTBUS_SECRET',
    example: 'output-of-openssl-rand-hex-32-goes-here',
    schema: visible(32),
    secret: true,
    help: 'Key that attempt tokens are derived from; the same on every host that shares a ledger. Not set: made once in the data folder.',
  }),
  fleet: optional({ env: 'AGENTBUS_FLEET', example: 'fleet.yaml', schema: path, help: 'Path of the fleet file: gateways and agents.' }),
  openclawBaseUrl: optional({
    env: 'OPENCLAW_BASE_URL',
    example: 'http://127.0.0.1:18789',
    schema: httpUrl,
    help: 'URL of the OpenClaw gateway, for an installation with one. Needs OPENCLAW_HOOK_TOKEN. Several gateways: use a fleet file.',
  }),
  openclawHookToken: optional({
    env: 'OPENCLAW_HOOK_TOKEN',
    example: 'hooks.token-of-the-gateway',
    schema: visible(1),
    secret: true,
    help: 'The `hooks.token` of that gateway. Without OPENCLAW_BASE_URL only beside AGENTBUS_FLEET, whose gateways may name it: `env:OPENCLAW_HOOK_TOKEN`.',
  }),
  openclawHookPath: withDefault({
    env: 'OPENCLAW_HOOK_PATH',
    fallback: '/hooks',
    schema: matching(/^\/[A-Za-z0-9/_-]*$/, 'must start with a slash and hold only letters, digits, slashes, underscores and hyphens'),
    help: 'The `hooks.path` of that gateway.',
  }),
  workerId: optional({
    env: 'AGENTBUS_WORKER_ID',
    example: 'worker-1',
    schema: matching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'must be at most 100 letters, digits, dots, underscores or hyphens, the first a letter or digit'),
    help: 'Name of this worker in the ledger; unique among those that run. Not set: host, process id and a random part.',
  }),
  defaultAgentConcurrency: withDefault({
    env: 'DEFAULT_AGENT_CONCURRENCY',
    fallback: '1',
    schema: whole(1, 1000),
    help: 'Runs at once of each agent that a first start without a fleet file makes. An agent of a fleet file has its own `concurrency` (default 1).',
  }),
  leaseSeconds: withDefault({
    env: 'LEASE_SECONDS',
    fallback: '600',
    schema: whole(5, 86_400),
    help: 'How long an attempt of an agent that a first start without a fleet file makes holds its job without a renewal. An agent of a fleet file has its own `lease_seconds` (default 600).',
  }),
  retrySeconds: withDefault({ env: 'RETRY_SECONDS', fallback: '60', schema: whole(1, 86_400), help: 'Wait before the second attempt; it doubles with each further one.' }),
  completionGraceMs: withDefault({
    env: 'AGENTBUS_COMPLETION_GRACE_MS',
    fallback: '5000',
    schema: whole(0, 600_000),
    help: 'How long to wait for the terminal write after the gateway said that the run ended.',
  }),
  waitSecondsMargin: withDefault({
    env: 'AGENTBUS_WAIT_SECONDS_MARGIN',
    fallback: '120',
    schema: whole(1, 3600),
    help: 'Added to the timeout of a run for the deadline of the hook call.',
  }),
  lockMs: withDefault({
    env: 'AGENTBUS_LOCK_MS',
    fallback: '8000',
    schema: whole(1000, 600_000),
    help: 'Lock of a delivery in the queue; a worker that died is noticed after about this long. Two thirds of every lease must be longer than this and AGENTBUS_STALLED_CHECK_MS together.',
  }),
  stalledCheckMs: withDefault({
    env: 'AGENTBUS_STALLED_CHECK_MS',
    fallback: '3000',
    schema: whole(500, 600_000),
    help: 'How often to look for deliveries whose lock ran out; at most AGENTBUS_LOCK_MS.',
  }),
  relayPollMs: withDefault({ env: 'AGENTBUS_RELAY_POLL_MS', fallback: '1000', schema: whole(20, 60_000), help: 'How often the relay looks for outbox rows whose hint was lost.' }),
  sweepSeconds: withDefault({ env: 'AGENTBUS_SWEEP_SECONDS', fallback: '30', schema: whole(1, 3600), help: 'How often ledger and queues are compared.' }),
  probeSeconds: withDefault({
    env: 'AGENTBUS_PROBE_SECONDS',
    fallback: '5',
    schema: whole(1, 3600),
    help: 'How often a gateway that counts as up is asked whether it is ready. One that counts as down is asked every second, after a first wait of 1 s, or of up to 60 s when it keeps going down without a run in between.',
  }),
  breakerFailures: withDefault({
    env: 'AGENTBUS_BREAKER_FAILURES',
    fallback: '3',
    schema: whole(1, 1000),
    help: 'Undelivered or unclear posts and failed probes in a row after which a gateway counts as down. A refusal does not count.',
  }),
  slotHorizonSeconds: withDefault({
    env: 'AGENTBUS_SLOT_HORIZON_SECONDS',
    fallback: '3600',
    schema: whole(10, 604_800),
    help: 'Seconds ahead for which every slot of a standing order is a row.',
  }),
  checkpointSeconds: withDefault({
    env: 'AGENTBUS_CHECKPOINT_SECONDS',
    fallback: '60',
    schema: whole(0, 86_400),
    help: 'How often a checkpoint over all histories is taken at least, if there is anything new; 0: only by agentbus checkpoint.',
  }),
  signingKey: optional({
    env: 'AGENTBUS_SIGNING_KEY',
    example: 'file:/etc/agentbus/signing-key.pem',
    schema: matching(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:\/\S+)$/, 'must be env:NAME or file:/path: where the key is, not the key'),
    help: 'Where the private Ed25519 key (PEM) is that signs checkpoints: env:NAME or file:/path. Not set: they are not signed.',
  }),
  pgPool: withDefault({ env: 'AGENTBUS_PG_POOL', fallback: '10', schema: whole(4, 200), help: 'PostgreSQL connections of one process for the ledger.' }),
  simPort: withDefault({ env: 'AGENTBUS_SIM_PORT', fallback: '0', schema: whole(0, 65_535), help: 'Port of the built-in gateway simulator; 0 takes any free one.' }),
  traces: withDefault({
    env: 'AGENTBUS_TRACES',
    fallback: 'false',
    schema: yesNo,
    help: 'true: OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT. false: nothing of it is loaded.',
  }),
  otelExporterOtlpEndpoint: optional({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    example: 'http://127.0.0.1:4318',
    schema: httpUrl,
    help: 'Where traces are sent, by OTLP over HTTP in JSON; /v1/traces is added.',
  }),
  otelExporterOtlpHeaders: optional({
    env: 'OTEL_EXPORTER_OTLP_HEADERS',
    example: 'authorization=Bearer%20a-token',
    schema: headerPairs,
    secret: true,
    help: 'Headers of those posts, as name=value,name=value.',
  }),
  otelServiceName: withDefault({
    env: 'OTEL_SERVICE_NAME',
    fallback: 'agentbus',
    schema: matching(/^[A-Za-z0-9._-]{1,100}$/, 'must be 1 to 100 letters, digits, dots, underscores or hyphens'),
    help: 'What this installation is called in traces.',
  }),
  logLevel: withDefault({
    env: 'AGENTBUS_LOG_LEVEL',
    fallback: 'info',
    schema: oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    help: 'Least severe level that is logged: fatal, error, warn, info, debug, trace, silent.',
  }),
  logPretty: withDefault({ env: 'AGENTBUS_LOG_PRETTY', fallback: 'false', schema: yesNo, help: 'true: lines for people. false: JSON lines.' }),
} as const satisfies Record<string, Setting<unknown>>

type SettingsTable = typeof SETTINGS
export type SettingKey = keyof SettingsTable
export type Settings = { readonly [K in SettingKey]: SettingsTable[K] extends Setting<infer T> ? T : never }
type Env = Readonly<Record<string, string | undefined>>

export interface SettingFault {
  readonly setting: string
  readonly fault: string
}

/**
 * All settings, checked. A variable that is set but empty is a fault and not a default: an empty
 * DATABASE_URL is a secret that was not filled in, and must not start an embedded database.
 *
 * @throws AgentbusError AGENTBUS_CONFIG with every fault in `fields.faults`; no value is quoted.
 */
export function loadSettings(env: Env): Settings {
  const faults: SettingFault[] = []
  const values: Partial<Record<SettingKey, unknown>> = {}
  for (const [key, setting] of entries()) {
    const text = env[setting.env] ?? setting.fallback
    if (text === undefined) continue
    const parsed = text === text.trim() && text !== '' ? setting.schema.safeParse(text) : undefined
    if (parsed?.success === true) values[key] = parsed.data
    else faults.push({ setting: setting.env, fault: parsed?.error.issues[0]?.message ?? faultOfSpace(text) })
  }
  faults.push(...crossFaults(values as Partial<Settings>, env))
  if (faults.length > 0) {
    throw new AgentbusError('AGENTBUS_CONFIG', faults.map(({ setting, fault }) => `${setting} ${fault}`).join('; '), { faults })
  }
  return Object.freeze(Object.fromEntries(entries().map(([key]) => [key, values[key]]))) as Settings
}

/** Names in `env` that look like settings and are none: most often a typing error. */
export function unknownSettings(env: Env): string[] {
  const known = new Set<string>(entries().map(([, setting]) => setting.env))
  return Object.keys(env)
    .filter((name) => name.startsWith('AGENTBUS_') && !known.has(name))
    .sort()
}

/** The text of `.env.example`: every setting with its meaning, commented out at its default or an example. */
export function renderEnvExample(): string {
  const blocks = entries().map(([, setting]) => {
    const kind = setting.secret ? ' Secret.' : ''
    return `# ${setting.help}${kind}\n#${setting.env}=${setting.fallback ?? setting.example ?? ''}\n`
  })
  return ['# Settings of agentbus. Made from config/settings.ts; do not edit. Lines below show defaults or examples.\n', ...blocks].join('\n')
}

function entries(): [SettingKey, Setting<unknown>][] {
  return Object.entries(SETTINGS) as [SettingKey, Setting<unknown>][]
}

function faultOfSpace(text: string): string {
  return text.trim() === '' ? 'is set but empty; give it a value or remove it' : 'must not start or end with white space'
}

/** Rules over several settings; each is silent while one of its settings has a fault of its own. */
function crossFaults(values: Partial<Settings>, env: Env): SettingFault[] {
  const { lockMs, stalledCheckMs, leaseSeconds, completionGraceMs, port, simPort, headersTimeoutMs, requestTimeoutMs } = values
  const isSet = (name: string): boolean => env[name] !== undefined
  const faults = gatewayFaults(isSet)
  if (lockMs !== undefined && stalledCheckMs !== undefined && stalledCheckMs > lockMs) {
    faults.push({ setting: SETTINGS.stalledCheckMs.env, fault: 'must be at most AGENTBUS_LOCK_MS, or a dead worker is noticed late' })
  }
  if (leaseSeconds !== undefined && lockMs !== undefined && stalledCheckMs !== undefined && !outlivesWorker(leaseSeconds, { lockMs, stalledCheckMs })) {
    faults.push({ setting: SETTINGS.leaseSeconds.env, fault: LEASE_FAULT })
  }
  if (leaseSeconds !== undefined && completionGraceMs !== undefined && completionGraceMs >= leaseSeconds * 1000) {
    faults.push({ setting: SETTINGS.completionGraceMs.env, fault: 'must be shorter than LEASE_SECONDS' })
  }
  if (headersTimeoutMs !== undefined && requestTimeoutMs !== undefined && headersTimeoutMs > requestTimeoutMs) {
    faults.push({ setting: SETTINGS.headersTimeoutMs.env, fault: 'must be at most AGENTBUS_REQUEST_TIMEOUT_MS: the headers are a part of the request' })
  }
  if (values.traces === true && !isSet(SETTINGS.otelExporterOtlpEndpoint.env))
    faults.push({ setting: SETTINGS.otelExporterOtlpEndpoint.env, fault: 'is needed when AGENTBUS_TRACES is true' })
  if (port !== undefined && port === simPort && port !== 0) faults.push({ setting: SETTINGS.simPort.env, fault: 'must differ from AGENTBUS_PORT' })
  return faults
}

/** The one gateway of the environment has its URL and its token. Beside a fleet file the token alone has a meaning too: its gateways may name it. */
function gatewayFaults(isSet: (name: string) => boolean): SettingFault[] {
  const [url, token, hookPath, fleet] = [SETTINGS.openclawBaseUrl.env, SETTINGS.openclawHookToken.env, SETTINGS.openclawHookPath.env, SETTINGS.fleet.env]
  if (isSet(url)) return isSet(token) ? [] : [{ setting: token, fault: 'is needed when OPENCLAW_BASE_URL is set' }]
  const faults: SettingFault[] = []
  if (isSet(token) && !isSet(fleet)) faults.push({ setting: token, fault: 'has no meaning unless OPENCLAW_BASE_URL or AGENTBUS_FLEET is set' })
  if (isSet(hookPath)) faults.push({ setting: hookPath, fault: 'has no meaning unless OPENCLAW_BASE_URL is set' })
  return faults
}
