import { randomUUID } from 'node:crypto'
import type { Clock } from '../../config/clock.js'

export interface RunEnd {
  readonly status: 'ok' | 'error' | 'skipped'
}

/** What a simulated agent sees of its run. */
export interface SimulatedRun {
  readonly runId: string
  readonly agentId: string
  readonly message: string
  readonly body: Readonly<Record<string, unknown>>
  /** Aborted when the gateway crashes: whatever the agent is doing dies with it. */
  readonly signal: AbortSignal
  /** False once the gateway has crashed: a run that goes on is a ghost. */
  isAlive(): boolean
  /** Waits, and returns early when the gateway crashes. */
  pause(ms: number): Promise<void>
}

/** One execution, as the simulator's own log keeps it: the evidence that tests compare the ledger with. */
export interface RunRecord {
  readonly runId: string
  readonly key: string | undefined
  readonly agentId: string
  /** The body of the post that started it, byte for byte. */
  readonly bytes: string
  readonly startedAtMs: number
  readonly endedAtMs: number | undefined
  /** `crashed`: the gateway died under it. */
  readonly outcome: RunEnd['status'] | 'crashed' | undefined
}

type OpenRecord = { -readonly [K in keyof RunRecord]: RunRecord[K] }

/** A post that asks for a run. `fingerprint` holds what makes it the same run under the same key. */
export interface RunRequest {
  readonly key: string | undefined
  readonly fingerprint: string
  readonly agentId: string
  readonly message: string
  readonly body: Readonly<Record<string, unknown>>
  readonly bytes: string
}

export interface DeskRun {
  readonly runId: string
  /** False when no place was free in time; the same key may then be sent again. */
  readonly admitted: Promise<boolean>
  readonly completion: Promise<RunEnd>
}

export interface HookDeskOptions {
  readonly behave: (run: SimulatedRun) => Promise<RunEnd>
  readonly maxRuns: number
  readonly admissionTimeoutMs: number
  readonly clock: Clock
  readonly record: (run: RunRecord) => void
}

/** How long a gateway remembers a key after its run has completed. */
export const KEY_MEMORY_MS = 5 * 60_000

interface KnownRun {
  readonly run: DeskRun
  endedAtMs: number | undefined
}

/** The runs of one life of a gateway: places, queueing, and the memory of idempotency keys, all gone at a crash. */
export class HookDesk {
  readonly #options: HookDeskOptions
  readonly #known = new Map<string, KnownRun>()
  /** Names of `#known` in the order in which their runs ended. */
  readonly #ended = new Set<string>()
  readonly #open = new Set<DeskRun>()
  readonly #records = new Set<OpenRecord>()
  readonly #queue = new Set<() => void>()
  readonly #pauses = new Set<AbortController>()
  readonly #crash = new AbortController()
  #running = 0

  constructor(options: HookDeskOptions) {
    this.#options = options
  }

  /** Finds the run of this key and these words, or starts one. */
  take(request: RunRequest): DeskRun {
    this.#forgetOld()
    const name = request.key === undefined ? undefined : JSON.stringify([request.key, request.fingerprint])
    const known = name === undefined ? undefined : this.#known.get(name)
    if (known !== undefined) return known.run
    const runId = randomUUID()
    const admitted = this.#place()
    const completion = admitted.then((free): RunEnd | Promise<RunEnd> => (free ? this.#execute(runId, request) : { status: 'skipped' }))
    const run: DeskRun = { runId, admitted, completion }
    this.#open.add(run)
    if (name !== undefined) this.#known.set(name, { run, endedAtMs: undefined })
    void this.#follow(run, name)
    return run
  }

  async #follow(run: DeskRun, name: string | undefined): Promise<void> {
    const wasAdmitted = await run.admitted
    if (!wasAdmitted && name !== undefined && this.#known.get(name)?.run === run) this.#known.delete(name)
    await run.completion
    this.#open.delete(run)
    const known = name === undefined ? undefined : this.#known.get(name)
    if (name === undefined || known?.run !== run) return
    known.endedAtMs = this.#options.clock.nowMs()
    this.#ended.add(name)
  }

  #forgetOld(): void {
    const limitMs = this.#options.clock.nowMs() - KEY_MEMORY_MS
    for (const name of this.#ended) {
      const endedAtMs = this.#known.get(name)?.endedAtMs
      if (endedAtMs !== undefined && endedAtMs > limitMs) return
      this.#ended.delete(name)
      this.#known.delete(name)
    }
  }

  async #place(): Promise<boolean> {
    if (this.#running < this.#options.maxRuns) {
      this.#running += 1
      return true
    }
    const waiting = new AbortController()
    let isCalled = false
    const call = (): void => {
      isCalled = true
      this.#running += 1
      waiting.abort()
    }
    this.#queue.add(call)
    await this.#pause(this.#options.admissionTimeoutMs, waiting)
    this.#queue.delete(call)
    return isCalled
  }

  async #execute(runId: string, request: RunRequest): Promise<RunEnd> {
    const { clock, behave } = this.#options
    const { signal } = this.#crash
    const { key, agentId, message, body, bytes } = request
    const record: OpenRecord = { runId, key, agentId, bytes, startedAtMs: clock.nowMs(), endedAtMs: undefined, outcome: undefined }
    this.#options.record(record)
    this.#records.add(record)
    let end: RunEnd
    try {
      end = await behave({ runId, agentId, message, body, signal, isAlive: () => !signal.aborted, pause: (ms) => this.#pause(ms, new AbortController()) })
    } catch {
      end = { status: 'error' }
    }
    this.#records.delete(record)
    if (signal.aborted) return end
    record.outcome = end.status
    record.endedAtMs = clock.nowMs()
    this.#running -= 1
    const [next] = this.#queue
    if (next !== undefined) {
      this.#queue.delete(next)
      next()
    }
    return end
  }

  /** Waits by the clock; ends early, without an error, at a crash or when `stop` is aborted. */
  async #pause(ms: number, stop: AbortController): Promise<void> {
    if (this.#crash.signal.aborted) return
    this.#pauses.add(stop)
    await this.#options.clock.sleep(ms, stop.signal).catch(() => undefined)
    this.#pauses.delete(stop)
  }

  /** Resolves when nothing runs or waits. */
  async idle(): Promise<void> {
    while (this.#open.size > 0) await Promise.all([...this.#open].map((run) => run.completion))
  }

  /** Loses all memory of keys. Runs go on: a post under the key of one of them starts another. */
  forget(): void {
    this.#known.clear()
    this.#ended.clear()
  }

  /** As SIGKILL does: everything under way is gone, and nothing is remembered. */
  kill(): void {
    const endedAtMs = this.#options.clock.nowMs()
    for (const record of this.#records) Object.assign(record, { outcome: 'crashed', endedAtMs })
    this.#crash.abort()
    for (const pause of this.#pauses) pause.abort()
    this.forget()
    this.#queue.clear()
  }
}
