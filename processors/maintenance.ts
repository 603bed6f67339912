import { hostname } from 'node:os'
import type { Logger } from 'pino'
import type { Actor } from '../contracts/actor.js'
import type { Signer } from '../ledger/audit/signing.js'
import { resumeDue } from '../ledger/deliver-attempt.js'
import { claimProbes, recordProbe } from '../ledger/gateway-health.js'
import { beat, forgetSilent, forgetStopped, stopBeating } from '../ledger/heartbeats.js'
import { forgetIdempotencyKeys } from '../ledger/idempotency.js'
import type { Ledger } from '../ledger/ledger.js'
import { PRESENCE_EVERY_MS, seen } from '../ledger/presence.js'
import { forgetRates } from '../ledger/rate-limits.js'
import { Turns } from '../ledger/turns.js'
import type { DueWork } from '../ledger/upkeep.js'
import type { HookClient } from '../openclaw/hook-client.js'
import { CheckpointTaker } from './checkpoint-taker.js'
import { Rounds } from './rounds.js'

export interface MaintenanceOptions {
  readonly ledger: Ledger
  readonly hooks: HookClient
  readonly log: Logger
  readonly workerId: string
  readonly pid: number
  readonly probeSeconds: number
  readonly breakerFailures: number
  /** How often checkpoints are taken, 0 for never, and what signs them. */
  readonly checkpointSeconds: number
  readonly signer: Signer | undefined
  readonly load: () => { leasesOwned: number; agents: number }
  /** Called when reactions are owed, or work that goes by capability waits. */
  readonly handOffsSoon: () => void
}

const BATCH = 200
/** How soon it is seen that there is something to do that no hint has told. */
const LOOK_EVERY_MS = 500
const IDEMPOTENCY_HOURS = 48
/** Longer than the time between two looks, so that the same process goes on; another follows when it has died. */
const INBOX_TURN_SECONDS = 6
const WATCH_TURN_SECONDS = 3
const METRICS_TURN_SECONDS = 6

/**
 * The work that time brings: reaping leases, waking what was blocked until now, probing gateways, saying that this
 * process lives. It runs in every worker process; each piece of work is claimed in the ledger. Of most of it one statement asks
 * whether there is any, for all of it at once; only then transactions begin.
 */
export class Maintenance {
  readonly #options: MaintenanceOptions
  readonly #rounds: Rounds
  readonly #turns: Turns
  #checkpoints: CheckpointTaker | undefined
  /** Each by itself and never twice at once: one that takes long, as the probe of a gateway that hangs, holds up no other. */
  readonly #begin: Readonly<Record<DueWork, () => void>>
  #unlisten: () => void = () => undefined
  #keepingControls: Promise<void> | undefined
  #controlsAgain = false

  constructor(options: MaintenanceOptions) {
    this.#options = options
    this.#rounds = new Rounds(options.log)
    this.#turns = new Turns({ db: options.ledger.db, by: options.workerId })
    this.#begin = {
      look_again: this.#rounds.alone('look_again', () => this.#lookAgain()),
      blocked: this.#rounds.alone('blocked', () => this.#keepBlocked()),
      leases: this.#rounds.alone('reaper', () => this.#reap()),
      probes: this.#rounds.alone('prober', () => this.#probe()),
      controls: () => void this.#controlsSoon(),
      hand_offs: options.handOffsSoon,
      memories: this.#rounds.alone('memories', () => this.#expireMemories()),
    }
  }

  async start(): Promise<void> {
    this.#unlisten = this.#options.ledger.hints.listen((hint) => {
      if (hint.fleet === true) void this.#controlsSoon()
    })
    await this.#rounds.once('heartbeat', () => this.#beat())
    await this.#rounds.once('presence', () => this.#noteWorkers())
    this.#rounds.every(PRESENCE_EVERY_MS, 'presence', () => this.#noteWorkers())
    this.#rounds.every(LOOK_EVERY_MS, 'due', () => this.#look())
    this.#rounds.every(500, 'agent_states', () => this.#watchAgents())
    this.#rounds.every(2_000, 'metrics', () => this.#countMetrics())
    this.#rounds.every(2_000, 'inbox', () => this.#keepInbox())
    this.#rounds.every(5_000, 'heartbeat', () => this.#beat())
    this.#rounds.every(60_000, 'gone_workers', () => this.#forgetGone())
    const { checkpointSeconds, ledger, log, signer } = this.#options
    if (checkpointSeconds > 0) {
      const taker = (this.#checkpoints = new CheckpointTaker({
        ledger,
        log,
        signer,
        turns: this.#turns,
        everyMs: checkpointSeconds * 1_000,
        isStopped: () => this.#rounds.isStopped,
      }))
      this.#rounds.every(taker.lookEveryMs, 'checkpoints', () => taker.look())
    }
    this.#rounds.every(600_000, 'idempotency', async () => {
      await this.#options.ledger.run((tx) => forgetIdempotencyKeys(tx, IDEMPOTENCY_HOURS))
      await this.#options.ledger.run(forgetRates)
    })
  }

  #actor(kind: Actor['kind']): Actor {
    return { kind, id: this.#options.workerId }
  }

  async #look(): Promise<void> {
    for (const work of await this.#options.ledger.upkeep.due()) this.#begin[work]()
  }

  async #reap(): Promise<void> {
    const reaped = await this.#options.ledger.upkeep.reap({ actor: this.#actor('reaper'), limit: BATCH })
    for (const job of reaped) this.#options.log.warn({ event: 'lease.reaped', job_id: job.id, status: job.status }, 'a lease ran out')
  }

  async #lookAgain(): Promise<void> {
    await this.#options.ledger.run((tx) => resumeDue(tx, { actor: this.#actor('system'), limit: BATCH }))
  }

  async #keepBlocked(): Promise<void> {
    const { escalated } = await this.#options.ledger.upkeep.keepBlocked(BATCH)
    if (escalated > 0) this.#options.log.warn({ event: 'blocked.escalated', jobs: escalated }, 'work is blocked beyond its patience')
  }

  /** Nobody is told them since their time has passed; here it is put down. */
  async #expireMemories(): Promise<void> {
    await this.#options.ledger.upkeep.expireMemories(BATCH)
  }

  /** When there is something to do for controls, and when a hint says that controls have changed: what they held is to start at once. One look at a time. */
  #controlsSoon(): Promise<void> {
    this.#controlsAgain = true
    this.#keepingControls ??= this.#rounds
      .once('controls', async () => {
        while (this.#controlsAgain && !this.#rounds.isStopped) {
          this.#controlsAgain = false
          await this.#keepControls()
        }
      })
      .finally(() => {
        this.#keepingControls = undefined
      })
    return this.#keepingControls
  }

  async #keepControls(): Promise<void> {
    const { ledger, log } = this.#options
    const kept = await ledger.upkeep.keepControls()
    for (const agent of kept.drained) log.info({ event: 'agent.drained', agent_id: agent }, 'an agent is drained')
    if (kept.expired > 0) log.info({ event: 'controls.expired', controls: kept.expired }, 'controls have ended by themselves')
  }

  async #probe(): Promise<void> {
    const { ledger, hooks, probeSeconds, breakerFailures } = this.#options
    const due = await ledger.run((tx) => claimProbes(tx, { everySeconds: probeSeconds, limit: 50 }))
    await Promise.all(
      due.map(async (gateway) => {
        const probe = await hooks.probe({ baseUrl: gateway.base_url, deadlineMs: 3_000 })
        if (probe.ready) await seen(ledger.db, `gateway:${gateway.id}`, ledger.nowMs())
        await ledger.run((tx) => recordProbe(tx, gateway.id, probe, { actor: this.#actor('prober'), threshold: breakerFailures, nowMs: ledger.nowMs() }))
      }),
    )
  }

  /**
   * Work for one process at a time: whoever has the turn keeps it as long as it comes again within `seconds`, and the others do nothing.
   */
  async #inTurn(name: string, seconds: number, work: () => Promise<void>): Promise<void> {
    if (await this.#turns.isMine(name, seconds)) await work()
  }

  /** In turn, so that each change is told once. */
  #watchAgents(): Promise<void> {
    return this.#inTurn('agent_states', WATCH_TURN_SECONDS, async () => {
      await this.#options.ledger.upkeep.watchAgents()
    })
  }

  /** What is left of a long range is counted at the next look. */
  #countMetrics(): Promise<void> {
    return this.#inTurn('metrics', METRICS_TURN_SECONDS, async () => {
      await this.#options.ledger.upkeep.countMetrics()
    })
  }

  #keepInbox(): Promise<void> {
    const { ledger, log } = this.#options
    return this.#inTurn('inbox', INBOX_TURN_SECONDS, async () => {
      const kept = await ledger.upkeep.keepInbox(BATCH)
      if (kept.overdue > 0) log.warn({ event: 'results.overdue', overdue: kept.overdue }, 'work that was handed over has no result yet')
    })
  }

  async #beat(): Promise<void> {
    const load = this.#options.load()
    await beat(this.#options.ledger.db, {
      dispatcherId: this.#options.workerId,
      host: hostname(),
      pid: this.#options.pid,
      leasesOwned: load.leasesOwned,
      busyAgents: load.leasesOwned,
      metrics: { agents: load.agents },
    })
  }

  /** A process that was killed says no goodbye. Whichever way one ended, the next has a name of its own unless it is given one, and takes no row over. */
  async #forgetGone(): Promise<void> {
    const { ledger, log } = this.#options
    const forgotten = await ledger.run(async (tx) => {
      await forgetStopped(tx)
      return forgetSilent(tx, this.#actor('system'))
    })
    for (const id of forgotten) log.warn({ event: 'worker.forgotten', dispatcher_id: id }, 'a worker process has been silent for an hour and counts as gone')
  }

  /** When workers were there tells later why a slot was missed. */
  async #noteWorkers(): Promise<void> {
    await seen(this.#options.ledger.db, 'workers', this.#options.ledger.nowMs())
  }

  async stop(): Promise<void> {
    this.#rounds.halt()
    this.#unlisten()
    await Promise.allSettled([this.#rounds.settled(), this.#keepingControls])
    await this.#checkpoints?.stop().catch(() => undefined)
    await stopBeating(this.#options.ledger.db, this.#options.workerId).catch(() => undefined)
  }
}
