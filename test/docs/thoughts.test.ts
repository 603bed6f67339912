import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { IDEA_COMMANDS } from '../../cli/client/commands/idea-rows.js'
import { MEMORY_COMMANDS } from '../../cli/client/commands/memory-rows.js'
import { OPPORTUNITY_COMMANDS } from '../../cli/client/commands/opportunity-rows.js'
import { parseFleet } from '../../config/fleet-file.js'
import { CANDIDATE_MOVES, IDEA_MOVES, MEMORY_MOVES, OPPORTUNITY_MOVES, type Moves } from '../../ledger/thoughts/moves.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { agent, aMemory, anIdea, anOpportunity, conversion, promotion } from '../support/thoughts.js'
import { verifyNow } from '../support/verify.js'

let t: TestLedger
let text = ''
beforeAll(async () => {
  t = await freshLedger()
  text = await readFile('docs/thoughts.md', 'utf8')
})
afterAll(() => t.close())

test('every query in the docs of thoughts runs, and finds the rows it is about', async () => {
  const idea = await anIdea(t.ledger)
  await t.ledger.ideas.review(agent('devops'), idea.id, {}).catch(() => undefined)
  const { opportunity } = await t.ledger.ideas.promote(OPERATOR, idea.id, promotion())
  await t.ledger.opportunities.convert(OPERATOR, opportunity.id, conversion())
  await anOpportunity(t.ledger, 'accepted')
  await aMemory(t.ledger, 'active', { subject_key: 'parser' })
  const queries = [...text.matchAll(/```sql\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')

  const found: unknown[] = []
  for (const query of queries) found.push((await t.database.pool.query(query)).rows)

  // Refusals, what waits, how much of each there is, what is in force about the parser, who decided what, from idea to job, what became of a memory.
  expect(found).toMatchObject([
    [{ code: 'AGENTBUS_FORBIDDEN', actor: 'devops' }],
    [{ status: 'accepted', source_agent: 'devops' }],
    [{ namespace: 'default', accepted_count: '1', converted_count: '1' }],
    [{ kind: 'lesson' }],
    [{ decision: 'accepted' }, { decision: 'new' }, { decision: 'converted_to_job' }, { decision: 'new' }],
    [{ source_agent: 'devops', status: 'queued' }],
    [{ subject_key: 'parser', decision: 'active', actor: 'test-operator', details: { expires_at: null, next_review_at: null, confidence_score: 4 } }],
  ])
})

test('the page about audits tells of every check of the ledger, that of thoughts among them', async () => {
  const page = await readFile('docs/audit.md', 'utf8')
  const table = /\n\| check \| holds when \|\n\|[-|]+\n((?:\|[^\n]*\n)+)/.exec(page)?.[1] ?? ''

  const told = new Set([...table.matchAll(/^\|([^|]*)\|/gm)].flatMap(([, cell = '']) => [...cell.matchAll(/`([\w-]+)`/g)].map((match) => match[1])))
  const checks = (await verifyNow(t.url)).map(({ check }) => check)

  expect(checks.filter((check) => !told.has(check))).toEqual([])
  expect(checks).toContain('thoughts')
})

test('the fleet file in the docs of thoughts is a valid one', () => {
  const authority = /```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? ''
  const agents = '[{ id: coordinator, gateway: g }, { id: project-tracker, gateway: g }]'

  const parsed = parseFleet(`gateways: [{ id: g, base_url: 'http://127.0.0.1:1', token: env:X }]\nagents: ${agents}\n${authority}`)

  expect(parsed).toMatchObject({ fleet: { authority: { triage: ['coordinator', 'project-tracker'], convert: ['coordinator'], promote: ['coordinator'] } } })
})

test('every command about thoughts has its example in the docs', () => {
  const shown = new Set([...text.matchAll(/^ {4}agentbus ([a-z-]+)/gm)].map((match) => match[1]))

  const all = [...IDEA_COMMANDS, ...OPPORTUNITY_COMMANDS, ...MEMORY_COMMANDS].map(({ name }) => name)
  expect(all.filter((name) => !shown.has(name))).toEqual([])
  expect(all.length).toBeGreaterThan(20)
})

test('the table of states in the docs has exactly the legal moves', () => {
  const rows = [...(/## The states\n\n\|[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)/.exec(text)?.[1] ?? '').matchAll(/^\|([^|]*)\|([^|]*)\|([^|]*)\|$/gm)]
  const words = (cell: string | undefined): string[] => [...(cell ?? '').matchAll(/`(\w+)`/g)].map((match) => match[1] ?? '')
  let kind = ''
  const told = rows.flatMap(([, name = '', from, to]) => {
    kind = name.trim() === '' ? kind : name.trim()
    return words(from).flatMap((one) => words(to).map((other) => `${kind}: ${one} → ${other}`))
  })

  const legal = (name: string, moves: Moves): string[] => Object.entries(moves).flatMap(([from, next]) => next.map((to) => `${name}: ${from} → ${to}`))
  // "any other of": none of them leads to itself.
  const other = told.filter((line) => !/: (\w+) → \1$/.test(line))
  const kept = legal('memory', MEMORY_MOVES).filter((line) => line !== 'memory: active → active')
  expect(other.sort()).toEqual([...legal('idea', IDEA_MOVES), ...legal('opportunity', OPPORTUNITY_MOVES), ...legal('memory candidate', CANDIDATE_MOVES), ...kept].sort())
})
