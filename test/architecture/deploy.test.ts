import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { SETTINGS } from '../../config/settings.js'

const run = promisify(execFile)
const UNITS = 'deploy/systemd'
const units = await readdir(UNITS)

/** The keys these units may use, by section; systemd itself ignores a misspelt one with a warning. */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  Unit: ['Description', 'After', 'Wants'],
  Service: [
    ...['User', 'WorkingDirectory', 'EnvironmentFile', 'Environment', 'ExecStart', 'Restart', 'RestartSec', 'TimeoutStopSec', 'StateDirectory'],
    ...['NoNewPrivileges', 'ProtectSystem', 'ProtectHome', 'PrivateTmp'],
  ],
  Install: ['WantedBy'],
}

interface Line {
  readonly section: string
  readonly key: string
  readonly value: string
}

async function linesOf(unit: string): Promise<Line[]> {
  let section = ''
  const lines: Line[] = []
  for (const text of (await readFile(path.join(UNITS, unit), 'utf8')).split('\n')) {
    if (text === '' || text.startsWith('#')) continue
    const head = /^\[(\w+)\]$/.exec(text)?.[1]
    if (head !== undefined) {
      section = head
      continue
    }
    const [, key, value] = /^(\w+)=(.+)$/.exec(text) ?? []
    if (key === undefined || value === undefined) throw new Error(`${unit}: cannot read ${text}`)
    lines.push({ section, key, value })
  }
  return lines
}

async function commandExists(command: string): Promise<boolean> {
  const { stdout } = await run(process.execPath, ['bin/agentbus.mjs', '--help'])
  return new RegExp(`^ +${command}\\b`, 'm').test(stdout)
}

describe.each(units)('%s', (unit) => {
  test('has only sections and keys that systemd knows, restarts, and is confined', async () => {
    const lines = await linesOf(unit)

    for (const { section, key } of lines) expect(KEYS[section], `[${section}] ${key}`).toContain(key)
    const service = Object.fromEntries(lines.filter(({ section }) => section === 'Service').map(({ key, value }) => [key, value]))
    expect(service).toMatchObject({ Restart: 'always', NoNewPrivileges: 'yes', ProtectSystem: 'strict' })
    expect(service['User']).not.toBe('root')
  })

  test('starts a command that exists, with settings that exist', async () => {
    const lines = await linesOf(unit)
    const [, command] = /^\/usr\/bin\/node bin\/agentbus\.mjs (\w+)$/.exec(lines.find(({ key }) => key === 'ExecStart')?.value ?? '') ?? []
    const names = lines.filter(({ key }) => key === 'Environment').map(({ value }) => value.split('=')[0])

    expect(await commandExists(command ?? 'none')).toBe(true)
    const known = Object.values(SETTINGS).map(({ env }) => env)
    for (const name of names) expect(known).toContain(name)
  })
})

test('the Dockerfile copies what exists, runs as an ordinary user, and starts a command that exists', async () => {
  const lines = (await readFile('Dockerfile', 'utf8')).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const copied = lines.filter((line) => line.startsWith('COPY ') && !line.includes('--from=')).flatMap((line) => line.split(' ').slice(1, -1))
  const folders = (await readdir('.', { withFileTypes: true })).filter((entry) => entry.isDirectory() && existsSync(path.join('dist', entry.name))).map(({ name }) => name)

  for (const line of lines.filter((one) => one.startsWith('FROM '))) expect(line).toMatch(/^FROM node:\d+-slim( AS \w+)?$/)
  for (const file of copied) expect([file, existsSync(file)]).toEqual([file, true])
  // Every folder that is built is in the image of the build.
  for (const folder of folders) expect(copied).toContain(folder)
  expect(lines.findLast((line) => line.startsWith('USER '))).toBe('USER node')
  const command = JSON.parse(lines.find((line) => line.startsWith('CMD '))?.slice(4) ?? '[]') as string[]
  expect(await commandExists(command[0] ?? 'none')).toBe(true)
})
