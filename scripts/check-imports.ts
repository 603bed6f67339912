import { spawnSync } from 'node:child_process'
import path from 'node:path'

/**
 * Fewer modules than this means that the tool did not read the sources, or only some of them: seen once, with exit code 0 and a violation
 * in place. Nine tenths of what there is; raise it as that grows.
 */
const FLOOR = 335

const FOLDERS = ['contracts', 'config', 'ledger', 'openclaw', 'queues', 'processors', 'api', 'board', 'embedded', 'cli']

interface Report {
  readonly summary: { readonly violations: readonly { readonly rule: { readonly name: string }; readonly from: string; readonly to: string }[]; readonly totalCruised: number }
  readonly modules: readonly { readonly source: string }[]
}

/** Runs the import rules in `root`. @returns every fault in a line; empty when the arrows hold */
export function importFaults(root: string, { floor }: { readonly floor: number } = { floor: FLOOR }): string[] {
  const tool = path.resolve('node_modules/dependency-cruiser/bin/dependency-cruise.mjs')
  const run = spawnSync(process.execPath, [tool, '--config', path.resolve('.dependency-cruiser.cjs'), '--output-type', 'json', ...FOLDERS], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  })
  let report: Report
  try {
    report = JSON.parse(run.stdout) as Report
  } catch {
    return [`the tool gave no report: ${run.stderr.slice(0, 500)}`]
  }
  const own = report.modules.filter((module) => FOLDERS.some((folder) => module.source.startsWith(`${folder}/`))).length
  const faults = report.summary.violations.map((violation) => `${violation.rule.name}: ${violation.from} → ${violation.to}`)
  return own < floor ? [...faults, `only ${own} modules were seen; at least ${floor} were expected`] : faults
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === import.meta.filename) {
  const faults = importFaults(process.cwd())
  for (const fault of faults) console.error(fault)
  if (faults.length === 0) console.log('imports: the arrows hold')
  process.exitCode = faults.length === 0 ? 0 : 1
}
