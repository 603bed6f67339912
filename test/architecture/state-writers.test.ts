import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { TRANSITION_REASONS, UNWRITTEN_REASONS } from '../../contracts/job-states.js'

const FOLDERS = ['contracts', 'config', 'ledger', 'openclaw', 'queues', 'processors', 'api', 'board', 'embedded', 'cli', 'drizzle']

/** The only files that may change the state of a job that exists; docs/architecture.md says what guards each. */
const WRITERS = ['ledger/grouped-moves.ts', 'ledger/open-attempts.ts', 'ledger/open-newborn.ts', 'ledger/transition.ts']

const UPDATE_OF_JOBS = /\bupdate\s+(?:only\s+)?(?:public\.)?"?jobs"?(?:\s+(?:as\s+)?(?!set\b)\w+)?\s+set\s/gi

/** What an UPDATE sets, without what stands in parentheses: up to its FROM, WHERE, RETURNING or end. `text` begins after SET. */
function setClause(text: string): string {
  let flat = text
  for (let before = ''; before !== flat;) {
    before = flat
    flat = flat.replace(/\([^()]*\)/g, '')
  }
  return flat.split(/\)|`|;|\bfrom\b|\bwhere\b|\breturning\b/i)[0] ?? ''
}

/** How many statements of a source set a job's state, or set what cannot be seen there: columns that other code chooses. */
function stateWrites(source: string): number {
  const updates = [...source.matchAll(UPDATE_OF_JOBS)].map((match) => setClause(source.slice(match.index + match[0].length)))
  const written = updates.filter((set) => /(?<![.\w])"?status"?\s*=/i.test(set) || /(?:^|,)\s*\$\{/.test(set))
  // By Drizzle's builder nothing of it is text, so that none is allowed at all.
  return written.length + [...source.matchAll(/\.update\(\s*(?:schema\.)?jobs\s*\)/g)].length
}

test('the state of a job is changed by four files of the ledger, and by no other code or migration', () => {
  const files = FOLDERS.flatMap((folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => path.join(folder, name))).filter((file) =>
    /\.(ts|sql)$/.test(file),
  )

  const writers = files.filter((file) => stateWrites(readFileSync(file, 'utf8')) > 0)

  expect(writers.sort()).toEqual(WRITERS)
  expect(files.length).toBeGreaterThan(350)
})

test('every reason of a history row is written by some code of the ledger, but for those that are told to be written by none', () => {
  // Where rows are written: the schema names all values, and what checks, shows or counts rows names those it looks for.
  const files = readdirSync('ledger', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts') && !/^(?:schema|verify|console|metrics)\//.test(name))
  const code = files.map((name) => readFileSync(path.join('ledger', name), 'utf8')).join('\n')

  // An observation may have the same word for its code.
  const unwritten = TRANSITION_REASONS.filter((reason) => !new RegExp(`(?<!\\bcode: )'${reason}'`).test(code))

  expect(unwritten).toEqual(UNWRITTEN_REASONS)
  expect(files.length).toBeGreaterThan(80)
})

test.each([
  ['a plain statement', 'sql`update jobs set status = ${to} where id = ${id}`'],
  ['one over several lines, with an alias', 'sql`\n  update jobs as j\n  set updated_at = now(), status = case when a then b end\n  from x where x.id = j.id`'],
  ['one in a list of statements', "sql`with moved as (update jobs set held_by = (select c.id from controls c where c.on), status = 'queued' where id = 1 returning *) select 1`"],
  ['columns that other code chooses', 'sql`update jobs set ${sql.join(parts, sql`, `)} where id = ${id}`'],
  ['columns chosen after others', 'sql`update jobs set last_seq = last_seq + 1, ${more} where id = ${id}`'],
  ['a migration', 'update "jobs" set "status" = \'dead\' where "finished_at" is null;'],
  ["Drizzle's builder", 'await tx.update(jobs).set({ status }).where(eq(jobs.id, id))'],
])('the check sees %s', (_what, source) => {
  expect(stateWrites(source)).toBe(1)
})

test('the check leaves alone what sets other columns, reads the state, or belongs to another table', () => {
  const sources = [
    "sql`update jobs set held_by = null where status = 'queued'`",
    "sql`update jobs set held_reason = split_part(p.still, ':', 1) || '_paused', held_by = case when p.status = 'x' then 1 end from p where p.id = jobs.id`",
    "sql`update jobs set payload = '{}', pruned_by = ${prune.seq} from w where jobs.id = w.key`",
    "sql`update job_attempts a set status = 'running' from jobs j where j.id = a.job_id`",
    'await tx.update(job_attempts).set({ status })',
  ]

  expect(sources.map(stateWrites)).toEqual([0, 0, 0, 0, 0])
})
