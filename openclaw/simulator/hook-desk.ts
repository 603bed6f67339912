import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'

/** What a simulated agent sees of its run. */
export interface SimulatedRun {
  readonly runId: string
  readonly agentId: string
  readonly message: string
  readonly body: Record<string, unknown>
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
  readonly bytes: string
  readonly startedAtMs: number
  endedAtMs: number | undefined
}

interface Run {
  readonly runId: string
  /** False when no place was free in time; the same key may then be sent again. */
  readonly admitted: Promise<boolean>
  readonly completion: Promise<{ readonly status: string }>
}

export interface HookDeskOptions {
  readonly behave: (run: SimulatedRun) => Promise<{ readonly status: 'ok' | 'error' | 'skipped' }>
  readonly maxRuns: number
  readonly admissionTimeoutMs: number
  readonly nowMs: () => number
  readonly record: (run: RunRecord) => void
}

/** How long a gateway remembers a key after its run has completed. */
const MEMORY_MS = 5 * 60_000

/** The runs of one life of a gateway: places, queueing, and the memory of idempotency keys, all gone at a crash. */
export class HookDesk {
  readonly #options: HookDeskOptions
  readonly #byKey = new Map<string, Run>()
  readonly #queue: (() => void)[] = []
  readonly #killed = new AbortController()
  readonly #timers = new Set<NodeJS.Timeout>()
  #running = 0

  constructor(options: HookDeskOptions) {
    this.#options = options
    // One per run that pauses.
    setMaxListeners(0, this.#killed.signal)
  }

  /** Finds the run of this key and these words, or starts one. */
  take(post: { readonly key: string | undefined; readonly body: Record<string, unknown>; readonly bytes: string }): Run {
    if (post.key === undefined) return this.#start(post, undefined)
    const fingerprint = JSON.stringify([post.key, post.body['message'], post.body['name'], post.body['agentId'], post.body['timeoutSeconds']])
    const known = this.#byKey.get(fingerprint)
    if (known !== undefined) return known
    const run = this.#start(post, fingerprint)
    this.#byKey.set(fingerprint, run)
    return run
  }

  #start(post: { readonly key: string | undefined; readonly body: Record<string, unknown>; readonly bytes: string }, fingerprint: string | undefined): Run {
    const runId = randomUUID()
    const place = this.#place()
    const completion = place.then((free) => (free ? this.#execute(runId, post) : { status: 'skipped' }))
    void place.then((free) => {
      if (!free && fingerprint !== undefined) this.#byKey.delete(fingerprint)
    })
    void completion.then(() => {
      if (fingerprint !== undefined) this.#later(MEMORY_MS, () => this.#byKey.delete(fingerprint))
    })
    return { runId, admitted: place, completion }
  }

  async #place(): Promise<boolean> {
    if (this.#running < this.#options.maxRuns) {
      this.#running += 1
      return true
    }
    return new Promise<boolean>((resolve) => {
      const go = (): void => {
        clearTimeout(timer)
        this.#running += 1
        resolve(true)
      }
      const timer = this.#later(this.#options.admissionTimeoutMs, () => {
        const at = this.#queue.indexOf(go)
        if (at >= 0) this.#queue.splice(at, 1)
        resolve(false)
      })
      this.#queue.push(go)
    })
  }

  async #execute(runId: string, post: { readonly key: string | undefined; readonly body: Record<string, unknown>; readonly bytes: string }): Promise<{ status: string }> {
    const agentId = typeof post.body['agentId'] === 'string' ? post.body['agentId'] : 'default'
    const record: RunRecord = { runId, key: post.key, agentId, bytes: post.bytes, startedAtMs: this.#options.nowMs(), endedAtMs: undefined }
    this.#options.record(record)
    try {
      return await this.#options.behave({
        runId,
        agentId,
        message: String(post.body['message']),
        body: post.body,
        isAlive: () => !this.#killed.signal.aborted,
        pause: (ms) => this.#pause(ms),
      })
    } catch {
      return { status: 'error' }
    } finally {
      record.endedAtMs = this.#options.nowMs()
      this.#running -= 1
      this.#queue.shift()?.()
    }
  }

  #pause(ms: number): Promise<void> {
    if (this.#killed.signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const killed = (): void => {
        clearTimeout(timer)
        resolve()
      }
      const timer = this.#later(ms, () => {
        this.#killed.signal.removeEventListener('abort', killed)
        resolve()
      })
      this.#killed.signal.addEventListener('abort', killed, { once: true })
    })
  }

  #later(ms: number, work: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      work()
    }, ms)
    timer.unref()
    this.#timers.add(timer)
    return timer
  }

  /** Resolves when nothing runs or waits. */
  async idle(): Promise<void> {
    while (this.#running > 0 || this.#queue.length > 0) await Promise.allSettled([...this.#byKey.values()].map((run) => run.completion))
  }

  kill(): void {
    this.#killed.abort()
    for (const timer of this.#timers) clearTimeout(timer)
    this.#byKey.clear()
  }
}
