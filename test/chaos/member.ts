import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnRole } from '../support/own-processes.js'
import type { ProcessName } from './schedule.js'

const RESTART_MS = 300

/** What a process says of itself, for whoever has to explain a verdict. */
export interface Heard {
  /** It has ended, and nobody had struck it. */
  readonly untouchedExit: (what: string) => void
  /** It was asked to end; `fault` says how it did otherwise than it should. */
  readonly ended: (end: GracefulEnd) => void
  /** It could not serve a request. */
  readonly failedRequest: (requestId: string, why: string) => void
}

/** What came of a SIGTERM. */
export interface GracefulEnd {
  readonly process: ProcessName
  /** Undefined when it ended by itself, in time, with exit code 0. */
  readonly fault: string | undefined
}

/** A process of the bus that is started again whenever it ends, as systemd or Kubernetes would. */
export class Member {
  readonly name: ProcessName
  readonly #env: Record<string, string>
  readonly #heard: Heard
  #child: ChildProcess | undefined
  /** Whether the child of this moment has said that it works. */
  #works = false
  #said: () => string = () => ''
  #lives = 0
  #wanted = false
  #loop: Promise<void> = Promise.resolve()
  #awake: () => void = () => undefined
  /** Killed, or asked to end, on purpose. Its end may be heard of only after it is wanted again. */
  #struck: ChildProcess | undefined
  #stopped = false

  constructor(name: ProcessName, env: Record<string, string>, heard: Heard) {
    this.name = name
    this.#env = env
    this.#heard = heard
  }

  /** How often it has been started. */
  get lives(): number {
    return this.#lives
  }

  /** Resolves when it works for the first time. */
  start(): Promise<void> {
    this.#wanted = true
    return new Promise((resolve) => {
      this.#loop = this.#keep(resolve)
    })
  }

  /** SIGKILL; it stays away for `forMs`. */
  async kill(forMs: number): Promise<void> {
    this.#wanted = false
    this.#struck = this.#child
    this.#child?.kill('SIGKILL')
    await sleep(forMs)
    this.#wanted = true
    this.#awake()
  }

  /**
   * SIGTERM: within `boundMs` it has to end by itself, with exit code 0. It stays away for `forMs` after that. One that has
   * not said yet that it works is left alone: it does not heed the signal before.
   */
  async end(boundMs: number, forMs: number): Promise<void> {
    const child = this.#child
    if (child === undefined || !this.#works || hasEnded(child)) return
    this.#wanted = false
    this.#struck = child
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await Promise.race([ended, sleep(boundMs, undefined, { ref: false })])
    const fault = hasEnded(child) ? wrongEnd(child) : `was still there ${boundMs / 1_000} s after SIGTERM`
    const log = this.#said().trim().split('\n').slice(-3).join(' | ')
    this.#heard.ended({ process: this.name, fault: fault === undefined ? undefined : `${this.name} ${fault}: ${log}` })
    if (!hasEnded(child)) child.kill('SIGKILL')
    await ended
    await sleep(forMs)
    this.#wanted = true
    this.#awake()
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal)
  }

  async stop(): Promise<void> {
    this.#wanted = false
    this.#stopped = true
    this.#awake()
    this.#child?.kill('SIGKILL')
    await this.#loop
  }

  async #keep(onFirst: () => void): Promise<void> {
    while (!this.#stopped) {
      if (!this.#wanted) {
        await new Promise<void>((resolve) => {
          this.#awake = resolve
        })
        continue
      }
      this.#lives += 1
      const { child, started, said } = spawnRole(this.name === 'api' ? 'api' : 'worker', { ...this.#env, AGENTBUS_WORKER_ID: `${this.name}-life-${this.#lives}` })
      this.#child = child
      this.#said = said
      if (child.stderr !== null) createInterface(child.stderr).on('line', (line) => this.#hear(line))
      const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
      // A start that fails is no fault: its stores may be cut off. It is tried again.
      void started.then(
        () => {
          this.#works = true
          onFirst()
        },
        () => undefined,
      )
      await ended
      const worked = this.#works
      this.#works = false
      if (worked && !this.#stopped && this.#struck !== child)
        this.#heard.untouchedExit(`${this.name} ended by itself (exit code ${child.exitCode ?? child.signalCode ?? 'none'}): ${said().trim().split('\n').slice(-2).join(' | ')}`)
      await sleep(RESTART_MS)
    }
  }

  #hear(line: string): void {
    // The last line of one that was killed may lack its end.
    if (!line.includes('"event":"http.failed"') || !line.endsWith('}')) return
    const { request_id: requestId, err } = JSON.parse(line) as { request_id: string; err: string }
    this.#heard.failedRequest(requestId, err)
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

function wrongEnd({ exitCode, signalCode }: ChildProcess): string | undefined {
  return exitCode === 0 ? undefined : `ended with ${exitCode ?? signalCode ?? 'nothing'} after SIGTERM`
}
