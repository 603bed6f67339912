import type { Db } from '../ledger/database.js'
import { expectedEntries, isExpected, unwantedEntries } from '../ledger/queue-parity.js'
import { Findings, resultOf, type CheckResult } from '../ledger/verify/report.js'
import type { BusQueue } from './backend.js'
import { entryId, isLive, LIVE, parseEntryId } from './catalogue.js'
import type { QueueRegistry } from './queue-registry.js'

const PAGE = 1_000
/** The sweep mends what differs; what it has not mended in this time, it does not see. */
const QUIET_MS = 60_000
const NIL = '00000000-0000-0000-0000-000000000000'

/**
 * Compares ledger and queues without mending anything. The ledger's side is read first: an entry that is published meanwhile
 * is not missed, and one that is taken meanwhile belongs to a job that has just changed.
 */
export async function checkParity(db: Db, queues: QueueRegistry, agents: readonly string[], quietMs: number = QUIET_MS): Promise<CheckResult> {
  const findings = new Findings()
  let examined = 0
  for (const agentId of agents) {
    const queue = await queues.get(agentId)
    examined += await findMissing(db, queue, { agentId, quietMs }, findings)
    examined += await findForeign(db, queue, agentId, findings)
  }
  return resultOf('queues', examined, findings)
}

async function findMissing(db: Db, queue: BusQueue, of: { readonly agentId: string; readonly quietMs: number }, findings: Findings): Promise<number> {
  let examined = 0
  let live: { readonly ids: ReadonlySet<string>; readonly atMs: number } | undefined
  for (let after = NIL; ;) {
    const page = await expectedEntries(db, { agentId: of.agentId, after, limit: PAGE, quietMs: of.quietMs })
    // One look at the queue is good for the pages of half the quiet time: what was published since is too young for them.
    if (page.length > 0 && (live === undefined || performance.now() - live.atMs >= of.quietMs / 2))
      live = { atMs: performance.now(), ids: new Set(await queue.getRanges([...LIVE], 0, -1)) }
    for (const entry of page) {
      if (live?.ids.has(entryId(entry.jobId, entry.generation)) === true) continue
      // It may have been taken, or published, since one of the two sides was read.
      if (!(await isExpected(db, entry)) || isLive(await queue.getJobState(entryId(entry.jobId, entry.generation)))) continue
      findings.add({
        kind: 'entry_missing',
        what: `Job ${entry.jobId} should be in the queue of ${of.agentId} and is not.`,
        row: { job_id: entry.jobId, generation: entry.generation, agent_id: of.agentId },
        next: 'Start any process: its sweep publishes the job again. If one runs, look for reconciler.failed in its logs.',
      })
    }
    examined += page.length
    after = page.at(-1)?.jobId ?? after
    if (page.length < PAGE) return examined
  }
}

async function findForeign(db: Db, queue: BusQueue, agentId: string, findings: Findings): Promise<number> {
  const ids = await queue.getRanges(['waiting', 'prioritized', 'delayed'], 0, -1)
  const foreign = (id: string, why: string): void =>
    findings.add({
      kind: 'entry_foreign',
      what: `Entry ${id.slice(0, 100)} in the queue of ${agentId} belongs to nothing: ${why}.`,
      row: { entry: id.slice(0, 100), agent_id: agentId, why },
      next: 'Start any process: its sweep takes the entry out. It is harmless: no worker starts what the ledger does not want.',
    })
  for (const id of ids) if (parseEntryId(id) === undefined && !id.startsWith('repeat:')) foreign(id, 'foreign_entry')
  const own = ids.flatMap((id) => parseEntryId(id) ?? [])
  for (let at = 0; at < own.length; at += PAGE) {
    for (const entry of await unwantedEntries(db, own.slice(at, at + PAGE))) {
      // A job that moves on takes its entry along a moment later; only what stays is foreign.
      const id = entryId(entry.jobId, entry.generation)
      if (['waiting', 'prioritized', 'delayed'].includes(await queue.getJobState(id))) foreign(id, entry.why)
    }
  }
  return ids.length
}
