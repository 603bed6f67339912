import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'

/** What a result was measured with, as one line of the results. */
export function setting(postgresVersion: string): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD']).toString().trim()
  return `Commit ${commit}, ${new Date().toISOString().slice(0, 10)}; ${cpus().length} cores, Node ${process.versions.node}, PostgreSQL ${postgresVersion} (embedded, fsync on).`
}

/**
 * Starts to watch the cores. Call what it returns for the share of their time, 0 to 1, that was used since, by whatever process:
 * figures from a machine that has other work to do are not the system's own.
 */
export function watchCores(): () => number {
  const before = coreTimes()
  return () => {
    const after = coreTimes()
    return 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all)
  }
}

function coreTimes(): { readonly idle: number; readonly all: number } {
  const sum = { idle: 0, all: 0 }
  for (const { times } of cpus()) {
    sum.idle += times.idle
    sum.all += times.user + times.nice + times.sys + times.irq + times.idle
  }
  return sum
}
