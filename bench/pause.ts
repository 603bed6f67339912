import { readFile, writeFile } from 'node:fs/promises'

/** What one pause under load showed, in milliseconds. */
export interface PauseTry {
  /** From the HTTP answer of the pause to the last run that began; 0 when none began after it. */
  readonly lastStartMs: number
  /** Runs that began after a second from the answer, while the pause was still in force. */
  readonly startedAfterQuiet: number
  /** From the answer of the resume to the first run that began. */
  readonly backMs: number
}

export interface PauseMeasure {
  readonly tries: number
  /** When runs began, by `performance.now()`; the agents append to it. */
  readonly startedAt: readonly number[]
  readonly pause: () => Promise<void>
  readonly resume: () => Promise<void>
  /** Makes so many jobs, over all agents. */
  readonly enqueue: (n: number) => Promise<void>
  /** How much longer than the second a pause is watched. */
  readonly quietMs: number
}

/** Jobs that are open when a pause begins: more than the agents end while it is measured. */
const BACKLOG = 300
/** Jobs that are added before each pause. */
const MORE = 60

/** Pauses while agents work off a backlog, and says when the last run began. The clock is that of the process in which the agents run. */
export async function measurePauses(measure: PauseMeasure): Promise<PauseTry[]> {
  const found: PauseTry[] = []
  for (let n = 0; n < measure.tries; n += 1) {
    await measure.enqueue(n === 0 ? BACKLOG : MORE)
    await moreThan(measure.startedAt, measure.startedAt.length + 20)
    await measure.pause()
    const paused = performance.now()
    await until(paused + 1_000 + measure.quietMs)
    const after = measure.startedAt.filter((at) => at > paused)
    const begun = measure.startedAt.length
    const resuming = measure.resume()
    await resuming
    const resumed = performance.now()
    await moreThan(measure.startedAt, begun)
    const first = measure.startedAt[begun] ?? resumed
    found.push({
      lastStartMs: Math.max(0, ...after.map((at) => at - paused)),
      startedAfterQuiet: after.filter((at) => at - paused > 1_000).length,
      backMs: Math.max(0, first - resumed),
    })
  }
  return found
}

async function moreThan(list: readonly unknown[], length: number): Promise<void> {
  const deadline = performance.now() + 30_000
  while (list.length <= length) {
    if (performance.now() > deadline) throw new Error('no run has begun for 30 seconds')
    await until(performance.now() + 2)
  }
}

function until(at: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, at - performance.now())))
}

const HEAD = `# Pause under load

\`WRITE_RESULTS=1 npx vitest run --project redis test/integration/pause.test.ts\`; \`--project postgres\` for the other backend. An API and three worker processes on one
ledger and one queue store, four agents with four places each, a backlog of ${BACKLOG} jobs; 20 times everything is paused in the middle of it, watched for more than
a second, and resumed. Milliseconds from the HTTP answer of the pause to the last run that began at the gateway, and from the answer of the resume to the first.
The target is that nothing begins later than a second after the answer; the test fails otherwise.
`

/** Writes the figures of one backend into the results, and leaves those of the other as they are. */
export async function writeResults(file: string, backend: string, setting: string, tries: readonly PauseTry[]): Promise<void> {
  const known = await readFile(file, 'utf8').catch(() => '')
  const others = known.split(/^(?=## )/m).filter((part) => part.startsWith('## ') && !part.startsWith(`## ${backend}\n`))
  const list = (pick: (one: PauseTry) => number): string => tries.map((one) => pick(one).toFixed(1)).join(', ')
  const part = `## ${backend}

${setting}

- last run after the pause: ${list(({ lastStartMs }) => lastStartMs)}
- runs that began more than a second after it: ${tries.reduce((sum, { startedAfterQuiet }) => sum + startedAfterQuiet, 0)}
- first run after the resume: ${list(({ backMs }) => backMs)}
`
  const parts = [...others.map((other) => `${other.trimEnd()}\n`), part].toSorted().reverse()
  await writeFile(file, [HEAD, ...parts].join('\n'))
}
