import type { ChildProcess } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { measureBareQueue } from './bare-queue.js'
import { child, next } from './child.js'
import { median, quantile, spread } from './figures.js'
import { WAYS, type Way } from './hand-off.js'
import { playRound, STEPS, type Round, type Timed } from './hand-off-round.js'
import { setting, watchCores } from './machine.js'
import { startStores, type Where } from './stores.js'

const { values: args } = parseArgs({
  options: {
    backend: { type: 'string', default: 'both' },
    rate: { type: 'string', default: '20' },
    count: { type: 'string', default: '600' },
    'warm-up': { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
  },
})
const [RATE, COUNT, WARM_UP, ROUNDS] = [Number(args.rate), Number(args.count), Number(args['warm-up']), Number(args.rounds)]
/** Runs that each agent may have open: never what a hand-off waits for. */
const CONCURRENCY = Math.max(50, 4 * RATE)
const TARGET = { p99Ms: 100, perSecond: 20 }
const RESULTS = path.join(import.meta.dirname, 'results', 'handoffs.md')

const QUANTILES = { p50: 0.5, p95: 0.95, p99: 0.99 } as const
type Quantile = keyof typeof QUANTILES
const NAMES: readonly Quantile[] = ['p50', 'p95', 'p99']

/** One backend: the bare queue and both ways in turn, round by round, so that a disturbance of the machine meets all of them. */
async function compare(where: Where, gatewayUrl: string, agents: ChildProcess): Promise<string> {
  const bare: Timed[] = []
  const ways: Record<Way, Round[]> = { event: [], 'follow-up': [] }
  const tell = (round: number, what: string, { total, busy }: Timed): void => {
    const figures = NAMES.map((name) => `${name} ${quantile(total, QUANTILES[name]).toFixed(1)} ms`).join(', ')
    console.log(`${where.queue.kind} round ${round + 1} ${what}: ${figures}; cores ${(100 * busy).toFixed(0)} % busy`)
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const cores = watchCores()
    const latencies = await measureBareQueue(where, { count: WARM_UP + COUNT, perSecond: RATE, concurrency: CONCURRENCY })
    const alone = { total: latencies.slice(WARM_UP), busy: cores() }
    bare.push(alone)
    tell(round, 'bare BullMQ', alone)
    for (const way of WAYS) {
      const played = await playRound(where, { gatewayUrl, agents, way, warmUp: WARM_UP, count: COUNT, perSecond: RATE, concurrency: CONCURRENCY })
      ways[way].push(played)
      tell(round, `hand-off by ${way}`, played)
    }
  }
  return render(ways, bare)
}

/** One figure of each round. */
const each = (rounds: readonly (readonly number[])[], name: Quantile): number[] => rounds.map((one) => quantile(one, QUANTILES[name]))
const totals = (rounds: readonly Timed[], name: Quantile): number[] =>
  each(
    rounds.map(({ total }) => total),
    name,
  )
const percent = (rounds: readonly Timed[]): string =>
  `${spread(
    rounds.map(({ busy }) => 100 * busy),
    0,
  )} %`

function render(ways: Readonly<Record<Way, readonly Round[]>>, bare: readonly Timed[]): string {
  const rows = WAYS.flatMap((way) =>
    NAMES.map((name) => {
      const [ours, theirs] = [totals(ways[way], name), totals(bare, name)]
      const [mine, other] = [median(ours), median(theirs)]
      return `| ${way} | ${name} | ${spread(ours, 1)} | ${spread(theirs, 1)} | +${(mine - other).toFixed(1)} ms | ${(mine / other).toFixed(1)} times |`
    }),
  )
  const steps = STEPS.map((step) => {
    const cells = WAYS.flatMap((way) => {
      const rounds = ways[way].map((round) => round.steps[step])
      return [median(each(rounds, 'p50')), median(each(rounds, 'p99'))]
    })
    return `| ${step} | ${cells.map((ms) => ms.toFixed(1)).join(' | ')} |`
  })
  const late = WAYS.flatMap((way) => ways[way].flatMap((round) => round.late))
  return `
${verdict(ways)}

The cores were busy for ${percent(bare)} of the time while the bare queue ran, which needs a few percent: the rest is other work of the machine, and it
delays every step of every figure here. With hand-offs they were busy for ${percent(WAYS.flatMap((way) => ways[way]))}. Completions were sent ${quantile(late, 0.5).toFixed(1)} ms (p50) and ${quantile(late, 0.99).toFixed(1)} ms (p99) after their due times.

| handed over by | figure | agentbus, ms | bare BullMQ, ms | difference | ratio |
|---|---|---|---|---|---|
${rows.join('\n')}

| where the time goes, ms | event, p50 | event, p99 | follow-up, p50 | follow-up, p99 |
|---|---|---|---|---|
${steps.join('\n')}
`
}

/** A statement of the output, not a test: on a busy machine it says "missed", and the run is a run all the same. */
function verdict(ways: Readonly<Record<Way, readonly Timed[]>>): string {
  const target = `Target: p99 under ${TARGET.p99Ms} ms at ${TARGET.perSecond} hand-offs/s`
  if (RATE !== TARGET.perSecond) return `${target}; it says nothing of this rate.`
  const told = WAYS.map((way) => {
    const rounds = totals(ways[way], 'p99')
    const within = rounds.filter((p99) => p99 < TARGET.p99Ms).length
    return { met: median(rounds) < TARGET.p99Ms, text: `by ${way} ${median(rounds).toFixed(1)} ms, under it in ${within} of ${rounds.length} rounds` }
  })
  return `${target}: **${told.every(({ met }) => met) ? 'met' : 'MISSED'}** (${told.map(({ text }) => text).join('; ')}).`
}

/** Writes what was run; the section of a backend that was left out stays as it was. */
async function report(sections: ReadonlyMap<string, string>, postgresVersion: string): Promise<void> {
  const before = await readFile(RESULTS, 'utf8').catch(() => '')
  const kept = new Map(
    before
      .split(/^## /m)
      .slice(1)
      .map((text) => [text.slice(0, text.indexOf('\n')), text.slice(text.indexOf('\n') + 1).trim()]),
  )
  for (const [kind, section] of sections) {
    const facts = `${setting(postgresVersion)} ${COUNT} hand-offs a round at ${RATE} per second after a warm-up of ${WARM_UP}; ${ROUNDS} rounds.`
    kept.set(kind, `${facts}\n${section}`.trim())
  }
  const text = `# Hand-off benchmark

\`npm run bench:handoffs\`; \`-- --rate 20 --count 600 --warm-up 100 --rounds 3 --backend both\` are the defaults.

From sending a sender's \`POST /v1/jobs/{id}/complete\` until the receiver's hook request has arrived at the gateway. The completion carries an
event, which a subscription makes the receiver's job of, or the follow-up job itself. Completions are sent at fixed times, however long earlier ones
take; the senders' jobs are enqueued and delivered meanwhile at the same rate, and receivers close theirs at once. API and workers are one process with
default settings, the gateway with its agents is another. Beside it, in turn: bare BullMQ on the same store at the same rate, from \`add\` to the
call of the processor, one queue and one worker, no HTTP, no ledger, the same payload and the options of agentbus' own entries. Figures are medians of
the rounds (lowest–highest).

${[...kept].map(([kind, section]) => `## ${kind}\n\n${section}\n`).join('\n')}`
  await mkdir(path.dirname(RESULTS), { recursive: true })
  await writeFile(RESULTS, text)
  console.log(`\n${text}`)
}

async function main(): Promise<void> {
  const stores = await startStores(args.backend)
  const agents = child('hand-off-agents.ts')
  try {
    const { url: gatewayUrl } = z.object({ url: z.string() }).parse(await next(agents))
    const sections = new Map<string, string>()
    for (const where of stores.places) sections.set(where.queue.kind, await compare(where, gatewayUrl, agents))
    if (sections.size === 0) throw new Error(`no queue backend to measure: --backend ${args.backend}`)
    await report(sections, stores.postgresVersion)
  } finally {
    agents.disconnect()
    await stores.stop()
  }
}

await main()
process.exit(0)
