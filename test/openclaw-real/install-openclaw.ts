import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import type { TestProject } from 'vitest/node'

/** Pinned: what the bus was shown against. OpenClaw needs a newer Node than the bus, so it brings its own. */
const OPENCLAW = '2026.9.6'
const NODE = '24.21.0'

export interface InstalledOpenClaw {
  readonly node: string
  readonly entry: string
}

declare module 'vitest' {
  export interface ProvidedContext {
    openclaw: InstalledOpenClaw
  }
}

/** Installs the gateway from npm, once per machine, into OPENCLAW_TEST_DIR or the user's cache. Runs no install scripts. */
export async function setup(project: TestProject): Promise<void> {
  project.provide('openclaw', await installOpenClaw())
}

async function installOpenClaw(): Promise<InstalledOpenClaw> {
  const nodePackage = `node-${process.platform}-${process.arch}`
  const app = path.join(cacheFolder(), 'app')
  const packages = path.join(app, 'node_modules')
  const installed = { node: path.join(packages, nodePackage, 'bin/node'), entry: path.join(packages, 'openclaw/openclaw.mjs') }
  if (versionOf(packages, 'openclaw') === OPENCLAW && versionOf(packages, nodePackage) === NODE && existsSync(installed.node)) return installed
  await mkdir(app, { recursive: true })
  await writeFile(path.join(app, 'package.json'), JSON.stringify({ private: true, dependencies: { openclaw: OPENCLAW, [nodePackage]: NODE } }))
  console.log(`Installing openclaw ${OPENCLAW} with Node ${NODE} into ${app}: about 850 MB, once.`)
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: app, stdio: 'inherit' })
  if (!existsSync(installed.node) || !existsSync(installed.entry)) throw new Error(`npm left no ${installed.node} or no ${installed.entry}`)
  return installed
}

function cacheFolder(): string {
  const given = process.env['OPENCLAW_TEST_DIR']
  if (given !== undefined && given !== '') return path.resolve(given)
  return path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'agentbus-openclaw')
}

function versionOf(packages: string, name: string): string | undefined {
  const file = path.join(packages, name, 'package.json')
  if (!existsSync(file)) return undefined
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version?: string }
  return version
}
