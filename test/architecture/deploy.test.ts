import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { NODE_FLAG, dockerfileFaults, SERVER_COMMANDS, unitFaults } from './deploy-faults.js'

const ROOT = process.cwd()
const UNITS = 'deploy/systemd'

async function units(): Promise<{ name: string; text: string }[]> {
  return Promise.all((await readdir(UNITS)).map(async (name) => ({ name, text: await readFile(path.join(UNITS, name), 'utf8') })))
}

describe('the systemd units', () => {
  test('are sound, and one runs the API and one the workers', async () => {
    const all = await units()

    expect(all.map(({ name, text }) => [name, unitFaults(text, ROOT)])).toEqual([
      ['agentbus-api.service', []],
      ['agentbus-worker@.service', []],
    ])
    expect(all.map(({ text }) => /^ExecStart=.* (\S+)$/m.exec(text)?.[1])).toEqual(['api', 'worker'])
  })

  test.each([
    ['Restart=always', 'Restrat=always', 'unknown key Restrat in [Service]'],
    ['Restart=always', 'Restart=on-failure', 'Service.Restart must be always'],
    ['[Install]', '[Instal]', 'unknown section [Instal]'],
    ['agentbus.mjs api', 'agentbus.mjs serve', 'serve is no server command'],
    ['bin/agentbus.mjs', 'bin/agentbus.js', 'bin/agentbus.js does not exist'],
    ['--no-memory-reducer ', '', 'node runs without --no-memory-reducer'],
    ['User=agentbus', 'User=root', 'Service.User must be a user of its own'],
    ['EnvironmentFile=/etc', 'EnvironmentFile=-/etc', 'Service.EnvironmentFile must be /etc/agentbus/agentbus.env'],
    ['AGENTBUS_DATA_DIR', 'AGENTBUS_DATADIR', 'Environment sets AGENTBUS_DATADIR, which is no setting'],
    ['NoNewPrivileges=yes\n', '', 'Service.NoNewPrivileges must be yes'],
  ])('are refused with %j turned into %j', async (was, now, fault) => {
    const text = await readFile(path.join(UNITS, 'agentbus-api.service'), 'utf8')

    expect(unitFaults(text.replace(was, now), ROOT)).toContain(fault)
  })

  const analyze = spawnSync('systemd-analyze', ['--version']).status === 0

  test.runIf(analyze)('pass systemd-analyze verify without a word, and a planted fault does not', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'agentbus-units-'))
    // The check looks for the program, which lies elsewhere on a developer's machine.
    for (const { name, text } of await units()) await writeFile(path.join(folder, name), text.replace('/usr/bin/node', process.execPath))
    const verify = (): string => {
      const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...names.map((name) => path.join(folder, name))], { encoding: 'utf8' })
      return `${stdout}${stderr}`
    }
    const names = ['agentbus-api.service', 'agentbus-worker@.service']

    const clean = verify()
    await writeFile(path.join(folder, 'agentbus-api.service'), (await readFile(path.join(folder, 'agentbus-api.service'), 'utf8')).replace('PrivateTmp=', 'PrivateTemp='))
    const planted = verify()
    await rm(folder, { recursive: true, force: true })

    expect(clean.split('\n').filter((line) => line.includes('agentbus'))).toEqual([])
    expect(planted).toContain('PrivateTemp')
  })
})

describe('the Dockerfile', () => {
  test('is sound', async () => {
    expect(dockerfileFaults(await readFile('Dockerfile', 'utf8'), ROOT)).toEqual([])
  })

  test.each([
    [/^FROM \S+ AS build/, 'FROM node:latest AS build', 'node:latest is not pinned to a version and a distribution'],
    [/^USER .*$/m, '', 'it runs as root'],
    [/npm ci/, 'npm install', 'npm install does not keep to the lock file; npm ci does'],
    [/^COPY board board$/m, 'COPY boards boards', 'boards is copied and does not exist'],
    [/^COPY board board$/m, '', 'the build needs board, which is not copied'],
    [/^COPY board board$/m, 'COPY docs docs', 'docs is copied and .dockerignore leaves it out'],
    [/^COPY drizzle drizzle$/m, '', 'the image lacks drizzle'],
    [/--from=build/, '--from=builder', 'there is no stage builder'],
    [/^CMD .*$/m, 'CMD ["serve"]', 'serve is no server command'],
  ])('is refused with %s turned into %j', async (was, now, fault) => {
    const text = await readFile('Dockerfile', 'utf8')

    expect(dockerfileFaults(text.replace(was, now), ROOT)).toContain(fault)
  })
})

test('docker-compose.yml and deploy/README.md name commands, units and settings files that exist', async () => {
  const readme = await readFile('deploy/README.md', 'utf8')
  const source = await readFile('docker-compose.yml', 'utf8')
  const { services } = parse(source, { merge: true }) as { services: Record<string, { build?: string; command?: string[] }> }

  const ofCompose = Object.values(services).flatMap((service) => (service.build === undefined ? [] : (service.command ?? []).slice(0, 1)))
  const ofReadme = [...readme.matchAll(/docker compose run --rm (\w+) ([\w-]+)/g)].map((match) => ({ service: match[1] ?? '', command: match[2] ?? '' }))
  const enabled = (/systemctl enable --now ([^`]+)`/.exec(readme)?.[1] ?? '').split(' ').map((unit) => `${unit.replace(/@.*/, '@')}.service`)

  for (const command of [...ofCompose, ...ofReadme.map((one) => one.command)]) expect(SERVER_COMMANDS).toContain(command)
  for (const { service } of ofReadme) expect(Object.keys(services)).toContain(service)
  expect([...new Set(enabled)].sort()).toEqual((await readdir(UNITS)).sort())
  expect(readme).toContain('/etc/agentbus/agentbus.env')
})

test('docker-compose.yml takes PostgreSQL for healthy only once it answers where the others reach it', async () => {
  const { services } = parse(await readFile('docker-compose.yml', 'utf8'), { merge: true }) as { services: Record<string, { healthcheck?: { test: string[] } }> }

  // At its first start the image runs a server on its socket alone, to make the database, and ends it again.
  expect(services['postgres']?.healthcheck?.test.join(' ')).toMatch(/\bpg_isready -h 127\.0\.0\.1 /)
})

test('docker-compose.yml leaves what it builds the time that a stop may take', async () => {
  const { services } = parse(await readFile('docker-compose.yml', 'utf8'), { merge: true }) as { services: Record<string, { build?: string; stop_grace_period?: string }> }
  const longest = /LAST_MS = ([\d_]+)/.exec(await readFile('cli/until-stopped.ts', 'utf8'))?.[1]?.replaceAll('_', '')

  const graces = Object.values(services).flatMap(({ build, stop_grace_period: grace }) => (build === undefined ? [] : [Number(/^(\d+)s$/.exec(grace ?? '')?.[1] ?? 0) * 1_000]))

  expect(graces.length).toBeGreaterThan(1)
  for (const grace of graces) expect(grace).toBeGreaterThan(Number(longest))
})

test('what is started by hand runs as units and image do, with a flag that this Node knows', async () => {
  const { scripts } = JSON.parse(await readFile('package.json', 'utf8')) as { scripts: Record<string, string> }
  const options = spawnSync(process.execPath, ['--v8-options'], { encoding: 'utf8', maxBuffer: 10 * 1_024 * 1_024 }).stdout

  for (const name of ['start', 'demo']) expect(scripts[name]).toContain(`node ${NODE_FLAG} bin/agentbus.mjs`)
  expect(await readFile('bin/agentbus.mjs', 'utf8')).toMatch(new RegExp(`^#!/usr/bin/env -S node ${NODE_FLAG}\n`))
  expect(options).toContain('--memory-reducer ')
})
