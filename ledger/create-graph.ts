import { AgentbusError } from '../contracts/errors.js'
import type { JobId } from '../contracts/ids.js'
import type { GraphJob } from '../contracts/jobs.js'
import { createJob, type Creator } from './create-job.js'
import type { Tx } from './database.js'
import type { JobRow } from './rows.js'

/**
 * Creates jobs that need each other, all of them or none. @returns them by their keys, in an order in which each comes
 * after what it needs
 * @throws AGENTBUS_DEPENDENCY_CYCLE, AGENTBUS_UNKNOWN_DEPENDENCY, and what {@link createJob} throws
 */
export async function createGraph(tx: Tx, jobs: readonly GraphJob[], by: Creator): Promise<{ key: string; job: JobRow; created: boolean }[]> {
  const made = new Map<string, JobId>()
  const results = []
  for (const { key, needs, ...body } of inOrder(jobs)) {
    const ids = needs.map((need) => made.get(need)).filter((id) => id !== undefined)
    const { job, created } = await createJob(tx, { ...body, depends_on: [...body.depends_on, ...ids] }, by)
    made.set(key, job.id as JobId)
    results.push({ key, job, created })
  }
  return results
}

function inOrder(jobs: readonly GraphJob[]): GraphJob[] {
  const known = new Set(jobs.map(({ key }) => key))
  for (const { key, needs } of jobs) {
    const unknown = needs.filter((need) => !known.has(need))
    if (unknown.length > 0) throw new AgentbusError('AGENTBUS_UNKNOWN_DEPENDENCY', `Job ${key} needs ${unknown.join(', ')}, which the graph does not have.`, { key, unknown })
  }
  const ordered: GraphJob[] = []
  const done = new Set<string>()
  for (let left = [...jobs]; left.length > 0;) {
    const ready = left.filter(({ needs }) => needs.every((need) => done.has(need)))
    if (ready.length === 0) {
      const cycle = cycleIn(left)
      throw new AgentbusError('AGENTBUS_DEPENDENCY_CYCLE', `The jobs need each other in a circle: ${cycle.join(' → ')}.`, { cycle })
    }
    for (const job of ready) done.add(job.key)
    ordered.push(...ready)
    left = left.filter(({ key }) => !done.has(key))
  }
  return ordered
}

/** Each of these jobs needs another of them, so following the needs comes back to where it has been. */
function cycleIn(left: readonly GraphJob[]): string[] {
  const needs = new Map(left.map((job) => [job.key, job.needs]))
  const path: string[] = []
  for (let key = left[0]?.key ?? ''; ;) {
    const at = path.indexOf(key)
    if (at >= 0) return [...path.slice(at), key]
    path.push(key)
    key = needs.get(key)?.find((need) => needs.has(need)) ?? ''
  }
}
