import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { arch, cpus, platform, totalmem } from 'node:os'
import path from 'node:path'
import { Redis } from 'ioredis'
import pg from 'pg'
import { z } from 'zod'
import { chart } from './chart.js'
import { contestants } from './contestants.js'
import { Book, Results, SECTIONS } from './figure.js'
import { watchCores } from './machine.js'
import { growOld } from './old-ledger.js'
import { readOptions, type BenchOptions } from './options.js'
import { mustCompare, renew } from './renew.js'
import { render } from './render.js'
import { age, pairsOf } from './sections/age.js'
import { bytes } from './sections/bytes.js'
import { handOff } from './sections/hand-off.js'
import { memory } from './sections/memory.js'
import { race } from './sections/race.js'
import { recovery } from './sections/recovery.js'
import { PARTS } from './contestant.js'
import { startStores, type BenchStores, type Where } from './stores.js'
import { startOutside, type Outside } from './systems/over-http.js'

const ROOT = path.join(import.meta.dirname, '..')
const KEPT = path.join(ROOT, 'bench', 'results', 'peers.json')

async function measure(stores: BenchStores, options: BenchOptions, book: Book): Promise<void> {
  const asked = (section: (typeof SECTIONS)[number]): boolean => options.only.includes(section)
  const isRace = PARTS.some(asked)
  const old = options.old > 0 && (asked('age') || asked('hand-off') || asked('recovery')) ? await grow(stores, options) : []
  if (isRace || asked('age')) {
    let outside: Outside | undefined
    try {
      const http = await startOutside()
      outside = http
      const all = contestants({ young: stores.places, old, peers: stores.peers }, () => http, options.concurrency)
      const young = all.filter((one) => !one.old)
      if (isRace) await race(young, options, book)
      if (asked('age')) await age(pairsOf(all), options, book)
    } finally {
      outside?.stop()
    }
  }
  if (asked('hand-off')) {
    const aged = options.short ? [] : old
    await handOff([...stores.places.map((where) => ({ where, finished: 0 })), ...aged.map((where) => ({ where, finished: options.old }))], options, book)
  }
  if (asked('bytes')) await bytes(await stores.another('bytes'), options, book)
  if (asked('memory')) await memory((name) => stores.another(name), options, book)
  // Last: it leaves its jobs in the queues.
  if (asked('recovery')) {
    await recovery(await stores.another('recovery'), 0, options, book)
    await recovery(old, options.old, options, book)
  }
}

async function grow(stores: BenchStores, { old }: BenchOptions): Promise<readonly Where[]> {
  const places = await stores.another('old')
  const [where] = places
  if (where === undefined) return []
  const startedMs = performance.now()
  await growOld(where, old)
  console.error(`a ledger with ${old} finished jobs: made in ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`)
  return places
}

const machineNow = (): Results['machine'] => ({
  cores: cpus().length,
  cpu: cpus()[0]?.model ?? '',
  memory_gib: Math.round(totalmem() / 2 ** 30),
  system: `${platform()} ${arch()}`,
})

async function factsOf(stores: BenchStores): Promise<Pick<Results, 'versions' | 'stores'>> {
  const versionOf = (name: string): string => z.object({ version: z.string() }).parse(createRequire(import.meta.url)(`${name}/package.json`)).version
  const client = new pg.Client({ connectionString: stores.peers.databaseUrl })
  await client.connect()
  const settings: Record<string, string> = {}
  for (const name of ['fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers']) {
    const { rows } = await client.query<{ value: string }>('select current_setting($1) as value', [name])
    settings[name] = rows[0]?.value ?? ''
  }
  await client.end()
  const versions: Record<string, string> = {
    Node: process.versions.node,
    PostgreSQL: stores.postgresVersion,
    BullMQ: versionOf('bullmq'),
    'pg-boss': versionOf('pg-boss'),
    'graphile-worker': versionOf('graphile-worker'),
  }
  const redisUrl = stores.places.find(({ queue }) => queue.kind === 'redis')?.queue.url
  if (redisUrl !== undefined) {
    const redis = new Redis(redisUrl)
    versions['Redis'] = /^redis_version:(\S+)/m.exec(await redis.info('server'))?.[1] ?? ''
    for (const name of ['appendonly', 'appendfsync']) settings[`Redis ${name}`] = z.tuple([z.string(), z.string()]).parse(await redis.config('GET', name))[1]
    redis.disconnect()
  }
  return { versions, stores: settings }
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2))
  const busy = watchCores()
  const stores = await startStores(options.backend)
  const book = new Book()
  try {
    const facts = { ...(await factsOf(stores)), machine: machineNow(), arguments: options.given }
    const isWhole = !options.short && SECTIONS.every((section) => options.only.includes(section)) && options.backend === 'both'
    const kept = options.keep && !isWhole ? Results.parse(JSON.parse(await readFile(KEPT, 'utf8'))) : undefined
    if (kept !== undefined) mustCompare(kept, { ...facts, arguments: { ...options.given } })
    await measure(stores, options, book)
    const results: Results = Results.parse({
      v: 1,
      commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim(),
      date: new Date().toISOString(),
      ...facts,
      busy: busy(),
      figures: book.figures,
    })
    process.stdout.write(options.json ? `${JSON.stringify(results, null, 2)}\n` : `${render(results)}\n`)
    if (isWhole) await keep(results)
    else if (kept !== undefined) await keep(renew(kept, results, options.only))
  } finally {
    await stores.stop()
  }
}

async function keep(results: Results): Promise<void> {
  await mkdir(path.dirname(KEPT), { recursive: true })
  await writeFile(KEPT, `${JSON.stringify(results, null, 2)}\n`)
  await writeFile(KEPT.replace(/json$/, 'md'), `${render(results)}\n`)
  await writeFile(path.join(ROOT, 'docs', 'performance.svg'), chart(results))
}

try {
  await main()
  process.exit(0)
} catch (error) {
  console.error(error instanceof Error ? (error.stack ?? error.message) : error)
  process.exit(1)
}
