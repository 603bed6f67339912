import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnRole } from '../support/own-processes.js'
import type { ProcessName } from './schedule.js'

const RESTART_MS = 300

/** What a process says of itself, for whoever has to explain a verdict. */
export interface Heard {
  /** It has ended, and nobody had struck it. */
  readonly untouchedExit: (what: string) => void
  /** It could not serve a request. */
  readonly failedRequest: (requestId: string, why: string) => void
}

/** A process of the bus that is started again whenever it ends, as systemd or Kubernetes would. */
export class Member {
  readonly name: ProcessName
  readonly #env: Record<string, string>
  readonly #heard: Heard
  #child: ChildProcess | undefined
  #lives = 0
  #wanted = false
  #loop: Promise<void> = Promise.resolve()
  #awake: () => void = () => undefined
  /** Killed on purpose. Its end may be heard of only after it is wanted again. */
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
      let works = false
      const { child, started, said } = spawnRole(this.name === 'api' ? 'api' : 'worker', { ...this.#env, AGENTBUS_WORKER_ID: `${this.name}-life-${this.#lives}` })
      this.#child = child
      if (child.stderr !== null) createInterface(child.stderr).on('line', (line) => this.#hear(line))
      const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
      // A start that fails is no fault: its stores may be cut off. It is tried again.
      void started.then(
        () => {
          works = true
          onFirst()
        },
        () => undefined,
      )
      await ended
      if (works && !this.#stopped && this.#struck !== child)
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
