import { unlink } from 'node:fs/promises'
import { systemClock } from '../config/clock.js'
import { loadSettings, type Settings } from '../config/settings.js'
import { messageOf } from '../contracts/errors.js'
import { AttemptTokens, knowsSecret } from '../ledger/tokens.js'
import { openReader, type Reader } from '../ledger/verify/reader.js'
import type { CheckResult } from '../ledger/verify/report.js'
import type { Anchor } from '../ledger/verify/checkpoints.js'
import { inputsOf } from '../ledger/verify/verify-state.js'
import { nameOf, verifyLedger, type VerifyOptions } from '../ledger/verify/verify.js'
import { EXIT } from './exit-codes.js'
import { withToken } from './hook-prompts.js'
import { CliError } from './io.js'
import { jsonText, oneLine } from './printable.js'
import { publicKeys } from './public-keys.js'
import { resultLines } from './result-lines.js'
import { readState } from './resume-file.js'
import type { ServerIo } from './server-commands.js'
import { lookAtStores, requireMigrated, writePrivate, type LookedAt } from './stores.js'
import { timeOption } from './time-option.js'
import { verifyQueues } from './verify-queues.js'

export interface VerifyFlags {
  readonly since?: string
  readonly resume?: string
  readonly queues: boolean
  readonly publicKey?: string
  readonly anchor?: readonly string[]
  readonly json?: true
}

/** What the reaper and the keeper, and the relay, have time for before it counts as a fault. */
const GRACE_SECONDS = 120
const OUTBOX_SECONDS = 60

/**
 * `agentbus verify`: prints a line per check, and the first fault of each kind with its row.
 * @throws CliError with {@link EXIT.violated} or {@link EXIT.unchecked}
 */
export async function verify(io: ServerIo, flags: VerifyFlags): Promise<void> {
  const since = flags.since === undefined ? undefined : timeOption('--since', flags.since)
  const settings = loadSettings(io.env)
  const soFar: CheckResult[] = []
  let stopped = ''
  const results = await carriedOut(io, settings, flags, since, soFar).catch((error: unknown) => {
    if (error instanceof CliError) throw error
    stopped = `The ledger could not be checked to the end: ${oneLine(messageOf(error))}`
    // What was found stays found, whatever stopped the rest.
    if (!soFar.some(({ verdict }) => verdict === 'violated')) throw new CliError(stopped, EXIT.unchecked)
    return soFar
  })
  const violated = results.filter(({ verdict }) => verdict === 'violated')
  const unchecked = results.filter(({ verdict }) => verdict === 'unchecked')
  if (flags.json === true)
    io.stdout.write(`${jsonText({ verdict: violated.length > 0 ? 'violated' : unchecked.length > 0 ? 'unchecked' : 'ok', since: since ?? null, checks: results })}\n`)
  if (violated.length > 0) throw new CliError(`The ledger does not hold: ${violated.map(({ check }) => check).join(', ')}.${stopped === '' ? '' : ` ${stopped}`}`, EXIT.violated)
  if (unchecked.length > 0) throw new CliError(`Not everything could be checked: ${unchecked.map(({ check }) => check).join(', ')}.`, EXIT.unchecked)
}

async function carriedOut(io: ServerIo, settings: Settings, flags: VerifyFlags, since: string | undefined, soFar: CheckResult[]): Promise<readonly CheckResult[]> {
  const anchors = (flags.anchor ?? []).map(anchorOf)
  const keys = await publicKeys(settings, io.env, flags.publicKey)
  const stores = await lookAtStores(settings)
  await requireMigrated(stores.databaseUrl)
  const reader = await openReader(stores.databaseUrl)
  const onResult = (result: CheckResult): void => {
    soFar.push(result)
    if (flags.json !== true) io.stdout.write(resultLines(result))
  }
  try {
    const exactBody = await bodiesWith(stores, reader)
    const next = { ledger: await nameOf(reader), since: since ?? null, inputs: inputsOf({ anchors, keys, exactBody }) }
    const ledger = await verifyLedger({
      reader,
      since,
      graceSeconds: GRACE_SECONDS,
      outboxSeconds: OUTBOX_SECONDS,
      nowMs: systemClock.nowMs(),
      exactBody,
      keys,
      anchors,
      resume: flags.resume === undefined ? undefined : await readState(flags.resume, next),
      save: async (state) => {
        if (flags.resume !== undefined) await writePrivate(flags.resume, JSON.stringify(state))
      },
      onResult,
    })
    const queues = flags.queues ? await verifyQueues(settings, stores, reader) : notAsked('queues')
    onResult(queues)
    if (flags.resume !== undefined) await unlink(flags.resume).catch(() => undefined)
    return [...ledger, queues]
  } finally {
    await reader.close()
  }
}

function notAsked(check: string): CheckResult {
  return { check, verdict: 'skipped', examined: 0, violations: [], note: 'not asked for' }
}

async function bodiesWith(stores: LookedAt, reader: Reader): Promise<VerifyOptions['exactBody']> {
  if (stores.secret === undefined) return undefined
  const tokens = new AttemptTokens(stores.secret)
  if (!(await knowsSecret(reader.db, tokens))) return undefined
  return (body, attemptId) => withToken(body, tokens.issue(attemptId))
}

function anchorOf(text: string): Anchor {
  const match = /^([1-9][0-9]{0,8}):([0-9a-f]{64})$/.exec(text)
  if (match?.[1] === undefined || match[2] === undefined)
    throw new CliError('--anchor is the number and the hash of a checkpoint, as `agentbus checkpoint` prints them: 17:<64 hex digits>.', EXIT.usage)
  return { seq: Number(match[1]), hash: match[2] }
}
