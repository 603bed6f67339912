import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pruneLedger } from '../../ledger/prune/prune.js'
import { aNight } from '../support/audit-seed.js'
import { OPERATOR, type TestLedger } from '../support/ledger.js'
import { kindsOf, verifyNow } from '../support/verify.js'

let t: TestLedger
let auditor: pg.Client
let queries: ReadonlyMap<string, string>
beforeAll(async () => {
  t = await aNight()
  // What is told by its row in `prunes`: two batches of answers of gateways.
  await t.ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], retention: { attempts_days: 1 } }, { dryRun: false, prune: false })
  await pruneLedger(t.database.db, { nowMs: Date.parse('2026-11-12T00:00:00Z'), actor: { kind: 'operator', id: 'agentbus prune' }, dryRun: false, batch: 6 })
  const text = await readFile('docs/audit-queries.md', 'utf8')
  queries = new Map([...text.matchAll(/^### (.+)\n(?:(?!###)[\s\S])*?```sql\n([\s\S]*?)```/gm)].map((match) => [match[1] ?? '', match[2] ?? '']))
  auditor = new pg.Client({ connectionString: t.url })
  await auditor.connect()
  await auditor.query(`set role agentbus_auditor; set timezone = 'UTC'; set default_transaction_read_only = on`)
}, 120_000)
afterAll(async () => {
  await auditor.end()
  await t.close()
})

/** A row per line, columns in the order of the query: what the night of `aNight` comes to, worked out by hand. */
const EXPECTED: Readonly<Record<string, readonly (readonly unknown[])[]>> = {
  'What did security do between 2 and 4 am?': [
    ['02:10:05', 'leased', 'scan the edge'],
    ['02:10:06', 'admitted', 'scan the edge'],
    ['02:14:00', 'created', 'close port 8080'],
    ['02:14:00', 'completed_by_agent', 'scan the edge'],
  ],
  'What was it sent, and can that be proved?': [['scan the edge', 1, true, 64, null]],
  'What did agent security read over the API?': [
    ['03:00', 'GET /v1/jobs', 200, null],
    ['03:00', 'GET /v1/jobs/{id}', 200, 'scan the edge'],
  ],
  'What did operators do?': [
    ['06:04', 'anna', 'paused', 'maintenance'],
    ['06:05', 'anna', 'resumed', 'done'],
  ],
  'Who cancelled what, and why?': [['06:25', 'anna', 'rebuild everything', 'not now']],
  'Who approved what, and how long did it wait?': [['Publish the notes?', 'approved', 'operator:anna', 'read twice', 30, 'publish release notes']],
  'Who paused what, and for how long?': [['agent', 'publisher', 'maintenance', 'anna', 'anna', 1]],
  'Who changed the fleet?': [
    ['agent', 'publisher', 2, 'test-operator'],
    ['subscription', 'tell-people', 1, 'anna'],
  ],
  'Which tokens were made and revoked?': [
    ['old laptop', 'auditor', 'anna', '07:30'],
    ['test-operator', 'operator', 'test-operator', null],
  ],
  // "tell people" took 40 seconds.
  'Which hand-offs took over a minute?': [['security', 'devops', 'close port 8080', 6 * 60]],
  'Who handed how much to whom?': [
    ['security', 'devops', 1, 1],
    ['security', 'publisher', 1, 1],
  ],
  'What happened after an event?': [['security.finding', 'security', 'tell-people', 'made', 'publisher', 'tell people', 'succeeded']],
  'Where did a job come from?': [
    [0, 'close port 8080', 'devops'],
    [1, 'scan the edge', 'security'],
  ],
  'What belongs to one matter?': [
    ['scan the edge', 'security', 'succeeded'],
    ['close port 8080', 'devops', 'succeeded'],
    ['tell people', 'publisher', 'succeeded'],
  ],
  'Which jobs died or were given up, and why?': [
    ['devops', 'move the database', 'dead', 'ended_without_terminal_write', 'The run ended (ok) and the agent closed the job neither before nor within the grace.'],
    ['publisher', 'publish the empty notes', 'failed', 'failed_by_agent', 'there are no notes'],
  ],
  // Ten minutes of "rotate keys" and five of "move the database"; half a minute of "publish the empty notes".
  'What did retries cost?': [
    ['devops', 2, 600 + 300],
    ['publisher', 1, 30],
  ],
  'Which jobs needed more than one run?': [
    ['publish release notes', 2, 'blocked_by_agent, completed_by_agent'],
    ['rotate keys', 2, 'ended_without_terminal_write, completed_by_agent'],
  ],
  'What was refused?': [['06:03', 'publisher', 'AGENTBUS_DELEGATION_REFUSED', 'publisher may not send reactive to devops; it may send anything to coordinator.']],
  'Which answers came too late?': [['devops', 'rebuild everything', 'AGENTBUS_STALE_ATTEMPT', 'cancelled']],
  'Which jobs had duplicate deliveries?': [
    ['close port 8080', 'job_is_over', 1],
    ['plan the week', 'reattached', 1],
  ],
  'Which jobs were asked for twice?': [['test-operator', 'plan the week', 'A job with dedupe key week-46 is open; no second one was created.']],
  'Why is this job blocked, since when, and what would unblock it?': [['restart the web server', 'devops', 'nobody knows the window', 'anna', 'person', 'name a window', '05:45']],
  'What was the longest wait by lane?': [
    ['reactive', 'close port 8080', 150],
    ['scheduled', 'scan the edge', 5],
    ['coding', 'move the database', 15 * 60],
  ],
  // Queued twice, leased and run twice, and half an hour for the approval.
  'How long was each job in which state?': [
    ['publish release notes', 'queued', 10 + 60],
    ['publish release notes', 'leased', 1 + 1],
    ['publish release notes', 'running', 109 + 119],
    ['publish release notes', 'blocked', 30 * 60],
  ],
  'What is open, and who has it?': [
    ['coordinator', 1, 1, 0, 0, 0],
    ['devops', 0, 0, 1, 0, 1],
    ['publisher', 0, 0, 0, 1, 0],
  ],
  'Which order missed most this month, and why?': [
    ['security/night-scan', 3, 'worker_down', 2, 1],
    ['devops/disk-check', 1, 'worker_down', 1, 0],
  ],
  'Which slots found nothing, and which did not run?': [
    ['disk-check', 1, 2, 1],
    ['night-scan', 1, 3, 0],
  ],
  'What became of each slot of an order, and by whose word?': [
    ['03:00', 'expected', 'started', null, 'worker-1'],
    ['03:00', 'started', 'no_work', null, 'devops'],
    ['04:00', 'expected', 'skipped', 'paused', 'keeper'],
  ],
  'When was an order in force, and on which schedule?': [
    ['devops', 'disk-check', 1, '0 * * * *', false],
    ['security', 'night-scan', 1, '0 * * * *', false],
  ],
  'Which findings were raised, who read them, and how long did it take?': [['disk.full', 'web-1', 'urgent', 'security', 'token:devops', 'delivered', 30]],
  // "tests" is undecided; "login" was only looked at half an hour after it was proposed.
  'Which opportunities waited longest for a decision, and who decided?': [
    ['tests', 'devops', null, null, null],
    ['login', 'security', 'accepted', 'anna', 3 * 60],
    ['mirror', 'publisher', 'parked', 'coordinator', 45],
    ['backups', 'devops', 'rejected', 'coordinator', 10],
  ],
  "What became of an agent's ideas this month?": [
    ['login', 'promoted_to_opportunity', 'coordinator', '11-10 02:00', 'two complaints', 'converted_to_job', 'plan fewer passwords'],
    ['ports', 'archived', 'security', '11-10 01:40', 'done already', null, null],
    ['logs', 'new', 'security', '11-10 01:20', null, null, null],
  ],
  // One more about anna ended the day before.
  'Which memories were in force on a given day, and what did they come from?': [
    ['preference', 'person anna', 'security', '02:10', 'operator:anna', '02:20', '02:50', 'archived', false],
    ['lesson', 'service db-1', 'devops', '03:30', 'agent:coordinator', '03:40', '05:20', 'superseded', false],
    ['lesson', 'service db-1', 'devops', '05:00', 'agent:coordinator', '05:20', null, null, true],
  ],
  "Up to where is a job's history covered by a checkpoint?": [
    ['plan the week', 4, 4],
    ['scan the edge', 4, 4],
  ],
  // Of eleven runs that ended, in batches of six.
  'What was pruned, when, and by which rule?': [['attempts', 11, 2, 1, 'agentbus prune']],
}

test('the seeded ledger holds', async () => {
  // As of the last slot that is seeded: orders in force go on calling for slots that this ledger was never there for.
  expect(kindsOf(await verifyNow(t.url, { nowMs: Date.parse('2026-11-10T04:30:00Z') }))).toEqual([])
})

test('the page asks exactly what is answered here, at least 25 questions', () => {
  expect([...queries.keys()]).toEqual(Object.keys(EXPECTED))
  expect(queries.size).toBeGreaterThanOrEqual(25)
})

test.each(Object.entries(EXPECTED))('%s', async (question, expected) => {
  const { rows } = await auditor.query<unknown[]>({ text: queries.get(question) ?? '', rowMode: 'array' })

  expect(rows).toEqual(expected)
})
