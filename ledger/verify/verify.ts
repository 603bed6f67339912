import type { AttemptId } from '../../contracts/ids.js'
import type { SignatureCheck } from '../audit/signing.js'
import { ALERTS } from './alert-checks.js'
import { walkChains, type ChainPosition } from './chains.js'
import { walkCheckpoints, type Anchor, type CheckpointPosition } from './checkpoints.js'
import { CONTROLS } from './control-checks.js'
import { checkDefinitions } from './definitions.js'
import { HAND_OFF_CHECKS } from './hand-off-checks.js'
import { walkPayloads } from './payloads.js'
import { walkPrompts } from './prompts.js'
import { checkPrunes } from './prunes.js'
import type { Reader } from './reader.js'
import { RECORD_CHECKS } from './record-checks.js'
import { walkRecords, type RecordPosition } from './records.js'
import { ORPHANS } from './reference-check.js'
import { Findings, resultOf, type CheckResult } from './report.js'
import { walkSlots, type SlotPosition } from './slots.js'
import { STATE_CHECKS } from './state-checks.js'
import { runStatements, type Bounds } from './statements.js'
import { THOUGHTS } from './thought-checks.js'
import { inputsOf, STATE_VERSION, type VerifyState } from './verify-state.js'

export interface VerifyOptions extends Bounds {
  readonly reader: Reader
  readonly nowMs: number
  /** Puts the token of an attempt back into a stored prompt; undefined when the secret is not at hand. */
  readonly exactBody: ((storedBody: string, attemptId: AttemptId) => string) | undefined
  /** Public keys for the signatures of checkpoints; none: they are not checked. */
  readonly keys: readonly SignatureCheck[]
  /** Checkpoints that were kept elsewhere. */
  readonly anchors: readonly Anchor[]
  /** The newest checkpoint that a backup brought along: with a key, it has to be signed, and not only what the restore added to it. */
  readonly newestKept?: number | undefined
  /** Where an earlier run was stopped. */
  readonly resume: VerifyState | undefined
  /** Called after each page and each check with all that a later run needs to go on from there. */
  readonly save: (state: VerifyState) => Promise<void>
  /** Called with each result as soon as there is one; at once for those of an earlier run. */
  readonly onResult: (result: CheckResult) => void
}

/** One check under way: what it found, and how it says where it stands. */
interface Walk {
  readonly findings: Findings
  readonly from: unknown
  readonly onPage: (position: unknown, rows: number) => Promise<void>
  readonly examined: () => number
}

interface Step {
  readonly name: string
  readonly run: (walk: Walk) => Promise<CheckResult>
}

/**
 * Checks every rule of the design against the rows, each check once, in a fixed order. Memory is bounded by a page; nothing
 * is written but the caller's state.
 * @throws whatever the database says when it cannot be read; what was saved by then can be resumed
 */
export async function verifyLedger(options: VerifyOptions): Promise<readonly CheckResult[]> {
  const ledger = await nameOf(options.reader)
  const done: CheckResult[] = [...(options.resume?.done ?? [])]
  for (const result of done) options.onResult(result)
  for (const step of stepsOf(options)) {
    if (done.some((result) => result.check === step.name)) continue
    const result = await step.run(walkOf(options, { ledger, done, check: step.name }))
    done.push(result)
    options.onResult(result)
    await options.save({ ...headOf(options, ledger), done, open: null })
  }
  return done
}

/** Which ledger a state belongs to: positions in another one mean nothing. */
export async function nameOf(reader: Reader): Promise<string> {
  const { rows } = await reader.client.query<{ name: string }>(`select datname || ':' || oid as name from pg_database where datname = current_database()`)
  return rows[0]?.name ?? ''
}

/** What says which run a state belongs to. */
function headOf(options: VerifyOptions, ledger: string): Pick<VerifyState, 'version' | 'ledger' | 'since' | 'inputs'> {
  return { version: STATE_VERSION, ledger, since: options.since ?? null, inputs: inputsOf(options) }
}

function walkOf(options: VerifyOptions, at: { readonly ledger: string; readonly done: readonly CheckResult[]; readonly check: string }): Walk {
  const open = options.resume?.open?.check === at.check ? options.resume.open : undefined
  const findings = new Findings(open?.violations)
  let examined = open?.examined ?? 0
  return {
    findings,
    from: open?.position,
    examined: () => examined,
    onPage: async (position, rows) => {
      examined += rows
      await options.save({
        ...headOf(options, at.ledger),
        done: at.done,
        open: { check: at.check, position, examined, violations: findings.list() },
      })
    },
  }
}

function stepsOf(options: VerifyOptions): Step[] {
  const { reader, since } = options
  return [
    {
      name: 'chains',
      run: async (walk) => {
        await walkChains(reader.client, { from: walk.from as ChainPosition | undefined, since, findings: walk.findings, onPage: walk.onPage })
        return resultOf('chains', walk.examined(), walk.findings)
      },
    },
    {
      name: 'checkpoints',
      run: async (walk) => {
        const { keys, anchors, newestKept } = options
        const { findings, onPage } = walk
        const note = await walkCheckpoints(reader.client, { from: walk.from as CheckpointPosition | undefined, since, keys, anchors, newestKept, findings, onPage })
        return resultOf('checkpoints', walk.examined(), walk.findings, note)
      },
    },
    {
      name: 'records',
      run: async (walk) => {
        const note = await walkRecords(reader.client, { from: walk.from as RecordPosition | undefined, since, findings: walk.findings, onPage: walk.onPage })
        return resultOf('records', walk.examined(), walk.findings, note)
      },
    },
    {
      name: 'payloads',
      run: async (walk) => {
        await walkPayloads(reader.client, { from: walk.from as string | undefined, since, findings: walk.findings, onPage: walk.onPage })
        return resultOf('payloads', walk.examined(), walk.findings)
      },
    },
    ...[...STATE_CHECKS, ...HAND_OFF_CHECKS, ...RECORD_CHECKS, CONTROLS, ALERTS, THOUGHTS, ORPHANS].map((check) => ({
      name: check.name,
      run: () => runStatements(reader.client, check, options),
    })),
    {
      name: 'slots',
      run: async (walk) => {
        const from = await walkSlots(reader, { from: walk.from as SlotPosition | undefined, bounds: options, nowMs: options.nowMs, findings: walk.findings, onPage: walk.onPage })
        return resultOf('slots', walk.examined(), walk.findings, `counted anew from ${from}`)
      },
    },
    { name: 'definitions', run: async (walk) => resultOf('definitions', await checkDefinitions(reader.client, walk.findings), walk.findings) },
    { name: 'prunes', run: async (walk) => resultOf('prunes', await checkPrunes(reader.client, walk.findings), walk.findings) },
    {
      name: 'prompts',
      run: async (walk) => {
        const { exactBody } = options
        if (exactBody === undefined) {
          return {
            check: 'prompts',
            verdict: 'unchecked',
            examined: 0,
            violations: [],
            note: 'the secret that this ledger derives attempt tokens from is not at hand (AGENTBUS_SECRET)',
          }
        }
        await walkPrompts(reader.client, { from: walk.from as string | undefined, since, findings: walk.findings, exactBody, onPage: walk.onPage })
        return resultOf('prompts', walk.examined(), walk.findings)
      },
    },
  ]
}
