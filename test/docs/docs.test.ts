import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COMMANDS } from '../../cli/client/command-table.js'
import { LEGAL_MOVES } from '../../contracts/job-states.js'
import { generatedDocs } from '../../scripts/write-docs.js'
import { aJob, freshLedger, type TestLedger } from '../support/ledger.js'

async function pages(): Promise<{ file: string; text: string }[]> {
  const docs = (await readdir('docs')).filter((name) => name.endsWith('.md')).map((name) => path.join('docs', name))
  return Promise.all(['README.md', 'deploy/README.md', ...docs].map(async (file) => ({ file, text: await readFile(file, 'utf8') })))
}

test('the pages that are made from code say what the code says', async () => {
  for (const [file, text] of Object.entries(generatedDocs())) expect([file, await readFile(file, 'utf8')]).toEqual([file, text])
})

test('the diagram of the life cycle has exactly the legal moves', async () => {
  const text = await readFile('docs/lifecycle.md', 'utf8')

  const drawn = [...text.matchAll(/^ {2}(\w+) --> (\w+)$/gm)].map((match) => `${match[1] ?? ''} → ${match[2] ?? ''}`)

  const legal = Object.entries(LEGAL_MOVES).flatMap(([from, tos]) => tos.map((to) => `${from} → ${to}`))
  expect(drawn.sort()).toEqual(legal.sort())
})

test('every dependency has its line, and every line its dependency', async () => {
  const text = await readFile('docs/dependencies.md', 'utf8')
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as Record<'dependencies' | 'devDependencies' | 'overrides', Record<string, string>>

  const listed = [...text.matchAll(/^- `([^`]+)` (\S+):/gm)].map((match) => `${match[1] ?? ''} ${match[2] ?? ''}`)

  const real = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies, ...manifest.overrides }).map(([name, version]) => `${name} ${version}`)
  expect(listed.sort()).toEqual(real.sort())
})

test('every command in the docs exists, with its options', async () => {
  const extra: Record<string, string[]> = {
    apply: ['file', 'dry-run', 'prune'],
    token: ['role', 'agent', 'name', 'expires-at'],
    workspace: ['dir', 'role', 'api-url', 'command'],
    'operator-token': ['name'],
  }
  const unknown: string[] = []

  for (const { file, text } of await pages()) {
    for (const match of text.matchAll(/agentbus ([a-z]+(?:-[a-z]+)*)((?: [^`\n]*)?)/g)) {
      const row = COMMANDS.find((command) => command.name === match[1])
      const options = row === undefined ? extra[match[1] ?? ''] : [...row.options.map((option) => option.flag), 'follow', 'all', 'idempotency-key', 'if-version']
      for (const flag of (match[2] ?? '').matchAll(/ --([a-z][a-z-]*)/g)) {
        if (![...(options ?? []), 'url', 'token', 'json'].includes(flag[1] ?? '')) unknown.push(`${file}: agentbus ${match[1] ?? ''} --${flag[1] ?? ''}`)
      }
    }
  }

  expect(unknown).toEqual([])
})

describe('every query in the docs', () => {
  let t: TestLedger
  beforeAll(async () => {
    t = await freshLedger()
    for (const status of ['succeeded', 'failed', 'blocked', 'running'] as const) await aJob(t.ledger, status)
    const closed = await aJob(t.ledger, 'succeeded')
    await t.ledger.jobs.complete(closed.as, closed.id, { result: {}, events: [], follow_ups: [] }).catch(() => undefined)
  })
  afterAll(() => t.close())

  test('runs, and finds the rows it is about', async () => {
    const text = await readFile('docs/operations.md', 'utf8')
    const queries = [...text.matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')

    const counts: number[] = []
    for (const query of queries) counts.push((await t.database.pool.query(query)).rows.length)

    // the story (a placeholder), the agent's hour, dead letters, observations, blocked, workers (none run here), open
    expect(counts).toEqual([0, 5, 1, 1, 1, 0, 1])
  })
})
