import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { AllowedAdvisories, judge } from './audit-report.js'

const FILE = 'scripts/allowed-advisories.json'
const LIMIT_MS = 120_000

// `npm run audit:deps`: 0 clean or not answered, 1 faults, 2 not answered with --strict.
const allowed = AllowedAdvisories.parse(JSON.parse(readFileSync(FILE, 'utf8')))
const ran = spawnSync('npm', ['audit', '--omit=dev', '--json'], { encoding: 'utf8', timeout: LIMIT_MS, maxBuffer: 64 * 1024 * 1024 })
const verdict = judge(ran.stdout, allowed, new Date().toISOString().slice(0, 10))
for (const line of verdict.lines) process.stdout.write(`audit: ${line}\n`)
if (verdict.kind === 'faults') process.exitCode = 1
if (verdict.kind === 'unanswered' && process.argv.includes('--strict')) process.exitCode = 2
