import type { Clock } from '../config/clock.js'
import type { TransitionView } from '../contracts/jobs.js'
import type { TransitionReason } from '../contracts/job-states.js'

export interface NarratorOptions {
  readonly stdout: { write(text: string): unknown }
  readonly clock: Clock
  /** `human` waits as long as the text takes to read; `fast` never waits. */
  readonly pace: 'human' | 'fast'
  /** Ends every wait. */
  readonly signal: AbortSignal
}

/** Somebody who reads along needs about this long for a character of prose, and for a row of a history. */
const MS_PER_CHARACTER = 38
const MS_PER_ROW = 450

const WIDTH = 88
const INDENT = '   '

/** What the rows of the story mean. A row with another reason is told without words. */
const WORDS: Partial<Record<TransitionReason, string>> = {
  created: 'in the ledger first; the queue follows',
  leased: 'one worker holds it, and nobody else',
  admitted: 'the gateway has accepted the run',
  completed_by_agent: 'the agent itself closed it',
  retry_asked_by_agent: 'the agent failed and asks for another try',
  blocked_by_agent: 'the agent cannot go on',
  condition_met: 'what it waited for has come',
  ended_without_terminal_write: 'the run is over and closed nothing',
  attempts_exhausted: 'that was the last attempt: a dead letter',
  undelivered: 'nobody took it; this attempt does not count',
  held: 'it stays in the queue while the gateway is away',
  run_lost: 'its gateway restarted under it',
}

/** Reasons whose note says more than the words do. */
const WITH_NOTE: ReadonlySet<TransitionReason> = new Set<TransitionReason>(['blocked_by_agent', 'condition_met'])

/** Tells the story on a terminal, at the pace of a reader. */
export class Narrator {
  readonly #options: NarratorOptions
  readonly #startMs: number
  readonly #explained = new Set<TransitionReason>()
  #chapters = 0

  constructor(options: NarratorOptions) {
    this.#options = options
    this.#startMs = options.clock.nowMs()
  }

  /** Seconds since the beginning. */
  get seconds(): number {
    return (this.#options.clock.nowMs() - this.#startMs) / 1_000
  }

  /** Prose, broken into lines, with the time to read it. */
  async prose(text: string): Promise<void> {
    this.print(`\n${wrapped(text)}\n\n`)
    await this.pause(text.length * MS_PER_CHARACTER)
  }

  async chapter(title: string, text: string): Promise<void> {
    this.#chapters += 1
    const heading = `${this.#chapters}. ${title}`
    this.print(`\n${heading}\n${'─'.repeat(heading.length)}\n`)
    await this.prose(text)
  }

  /** Something that happens outside of the ledger: what you do, or what befalls the gateway. */
  say(text: string): void {
    this.print(`${this.#time(this.#options.clock.nowMs())}  ▸ ${text}\n`)
  }

  /** A row of a job's history, at the time that the ledger gives it. What a reason means is said once. */
  async row(agent: string, { seq, from_status, to_status, reason, note, at }: TransitionView): Promise<void> {
    const move = from_status === to_status ? `${to_status} (a note)` : `${from_status ?? 'new'} → ${to_status}`
    const said = [reason, ...(this.#explained.has(reason) ? [] : [WORDS[reason]]), WITH_NOTE.has(reason) ? note : undefined].filter((part) => typeof part === 'string')
    this.#explained.add(reason)
    this.print(`${this.#time(Date.parse(at))}    ${agent.padEnd(11)} ${String(seq).padStart(2)}  ${move.padEnd(19)} ${said.join(' · ')}\n`)
    await this.pause(MS_PER_ROW)
  }

  /** One promise of the story beside what was found. */
  async check(number: number, { says, wanted, found }: { readonly says: string; readonly wanted: string; readonly found: string }): Promise<void> {
    const holds = found === wanted
    this.print(`  ${holds ? '✓' : '✗'} ${String(number).padStart(2)}  ${says}\n`)
    this.print(holds ? `        ${found}\n` : `        wanted: ${wanted}\n        found:  ${found}\n`)
    await this.pause(MS_PER_ROW)
  }

  /** Skipped in the fast telling. @throws when the demo is stopped */
  async pause(ms: number): Promise<void> {
    if (this.#options.pace === 'human') await this.wait(ms)
  }

  /** A wait that the story itself needs. @throws when the demo is stopped */
  wait(ms: number): Promise<void> {
    return this.#options.clock.sleep(ms, this.#options.signal)
  }

  print(text: string): void {
    this.#options.stdout.write(text)
  }

  #time(ms: number): string {
    return `${Math.max(0, (ms - this.#startMs) / 1_000)
      .toFixed(1)
      .padStart(6)} s`
  }
}

function wrapped(text: string): string {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const line = lines.at(-1)
    if (line === undefined || line.length + word.length >= WIDTH) lines.push(`${INDENT}${word}`)
    else lines[lines.length - 1] = `${line} ${word}`
  }
  return lines.join('\n')
}
