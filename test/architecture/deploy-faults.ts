import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Command } from 'commander'
import { registerServerCommands } from '../../cli/server-commands.js'
import { SETTINGS } from '../../config/settings.js'

/** The commands that run a server or work on the stores, with commander's own word for it. */
export const SERVER_COMMANDS: ReadonlySet<string> = commandNames()

function commandNames(): Set<string> {
  const program = new Command()
  registerServerCommands(program, { env: {}, stdout: { write: () => true } })
  return new Set(program.commands.map((command) => command.name()))
}

const ENV_NAMES = new Set<string>(Object.values(SETTINGS).map((setting) => setting.env))

/** What our units may say. systemd ignores a key that it does not know, so that a typing error switches a guard off unseen. */
const KEYS: Readonly<Record<string, ReadonlySet<string>>> = {
  Unit: new Set(['Description', 'Documentation', 'After', 'Wants', 'Requires', 'StartLimitIntervalSec']),
  Service: new Set([
    ...['Type', 'User', 'Group', 'UMask', 'WorkingDirectory', 'StateDirectory', 'StateDirectoryMode', 'Environment', 'EnvironmentFile', 'ExecStart'],
    ...['Restart', 'RestartSec', 'TimeoutStopSec', 'KillSignal', 'LimitNOFILE', 'NoNewPrivileges', 'ProtectSystem', 'ProtectHome', 'PrivateTmp', 'PrivateDevices'],
    ...['ProtectKernelTunables', 'ProtectKernelModules', 'ProtectKernelLogs', 'ProtectControlGroups', 'ProtectClock', 'ProtectHostname', 'RestrictSUIDSGID'],
    ...['RestrictNamespaces', 'RestrictRealtime', 'RestrictAddressFamilies', 'LockPersonality', 'CapabilityBoundingSet', 'SystemCallArchitectures'],
  ]),
  Install: new Set(['WantedBy']),
}

/** Key and value that each service must have: it comes back after any end, and it can harm little. */
const MUST: Readonly<Record<string, string>> = {
  'Unit.StartLimitIntervalSec': '0',
  'Service.Restart': 'always',
  'Service.WorkingDirectory': '/opt/agentbus',
  'Service.EnvironmentFile': '/etc/agentbus/agentbus.env',
  'Service.StateDirectory': 'agentbus',
  'Service.NoNewPrivileges': 'yes',
  'Service.ProtectSystem': 'strict',
  'Service.ProtectHome': 'yes',
  'Service.PrivateTmp': 'yes',
  'Service.PrivateDevices': 'yes',
  'Service.CapabilityBoundingSet': '',
  'Install.WantedBy': 'multi-user.target',
}

/** @returns every fault of a systemd unit in a line */
export function unitFaults(unit: string, root: string): string[] {
  const faults: string[] = []
  const values = new Map<string, string[]>()
  let section = ''
  for (const line of unit.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const header = /^\[(\w+)\]$/.exec(line)?.[1]
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? []
    if (header !== undefined) {
      section = header
      if (KEYS[section] === undefined) faults.push(`unknown section [${section}]`)
    } else if (key === undefined || value === undefined) faults.push(`neither a key nor a section: ${line}`)
    else if (KEYS[section]?.has(key) !== true) faults.push(`unknown key ${key} in [${section}]`)
    else values.set(`${section}.${key}`, [...(values.get(`${section}.${key}`) ?? []), value])
  }
  for (const [key, value] of Object.entries(MUST)) {
    const found = values.get(key)
    if (found?.length !== 1 || found[0] !== value) faults.push(`${key} must be ${value === '' ? 'empty' : value}`)
  }
  const user = values.get('Service.User')?.[0]
  if (user === undefined || user === 'root') faults.push('Service.User must be a user of its own')
  if (!/^[1-9]\d*$/.test(values.get('Service.RestartSec')?.[0] ?? '')) faults.push('Service.RestartSec must be a number of seconds')
  for (const assignment of values.get('Service.Environment') ?? []) {
    const name = assignment.split('=')[0] ?? ''
    if (!ENV_NAMES.has(name)) faults.push(`Environment sets ${name}, which is no setting`)
  }
  return [...faults, ...commandFaults((values.get('Service.ExecStart')?.[0] ?? '').split(' '), root)]
}

/** What every long-running process is started with; docs/decisions/0035-no-memory-reducer.md says why. */
export const NODE_FLAG = '--no-memory-reducer'

/** Of a command line such as `/usr/bin/node --no-memory-reducer bin/agentbus.mjs api`, with paths relative to the project. */
function commandFaults([program = '', ...words]: readonly string[], root: string): string[] {
  const faults: string[] = []
  if (words[0] !== NODE_FLAG) faults.push(`node runs without ${NODE_FLAG}`)
  const [script = '', command = '', ...more] = words.filter((word) => word !== NODE_FLAG)
  if (path.basename(program) !== 'node') faults.push(`${program || 'nothing'} is run where node is expected`)
  if (script === '' || !existsSync(path.join(root, script))) faults.push(`${script || 'the script'} does not exist`)
  if (!SERVER_COMMANDS.has(command)) faults.push(`${command || 'no word'} is no server command`)
  if (more.length > 0) faults.push(`unexpected arguments: ${more.join(' ')}`)
  return faults
}

interface Stage {
  readonly name: string
  readonly image: string
  readonly copied: string[]
  readonly instructions: { word: string; rest: string }[]
}

/** @returns every fault of the Dockerfile in a line */
export function dockerfileFaults(dockerfile: string, root: string): string[] {
  const faults: string[] = []
  const stages: Stage[] = []
  const ignored = readFileSync(path.join(root, '.dockerignore'), 'utf8').split('\n')
  for (const line of dockerfile.replaceAll('\\\n', ' ').split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const [, word = '', rest = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? []
    if (word === 'FROM') {
      const [, image = '', name = ''] = /^(\S+)(?: AS (\w+))?$/.exec(rest) ?? []
      // A tag such as 24-slim is another image next month.
      if (!/:\d+\.\d+\.\d+-[a-z]+-slim$/.test(image)) faults.push(`${image} is not pinned to a version and a distribution`)
      stages.push({ name, image, copied: [], instructions: [] })
      continue
    }
    const stage = stages.at(-1)
    if (stage === undefined || !['WORKDIR', 'COPY', 'RUN', 'ENV', 'USER', 'EXPOSE', 'ENTRYPOINT', 'CMD'].includes(word)) faults.push(`unexpected: ${line}`)
    else {
      stage.instructions.push({ word, rest })
      if (word === 'COPY') faults.push(...copyFaults(rest, { stage, stages, ignored, root }))
      if (word === 'RUN' && /\bnpm (i|install)\b/.test(rest)) faults.push('npm install does not keep to the lock file; npm ci does')
    }
  }
  const [build, final] = [stages[0], stages.at(-1)]
  if (build === undefined || final === undefined) return ['there is no FROM']
  const last = (word: string): string => final.instructions.findLast((one) => one.word === word)?.rest ?? ''
  if (!build.instructions.some(({ word, rest }) => word === 'RUN' && /\bnpm ci\b/.test(rest))) faults.push('nothing runs npm ci')
  if (new Set(stages.map((stage) => stage.image)).size !== 1) faults.push('the stages have different base images')
  if (['', 'root', '0'].includes(last('USER').split(':')[0] ?? '')) faults.push('it runs as root')
  for (const part of sourcesOfBuild(root)) if (!build.copied.includes(part)) faults.push(`the build needs ${part}, which is not copied`)
  for (const part of ['bin', 'drizzle', 'dist', 'node_modules', 'package.json']) if (!final.copied.includes(part)) faults.push(`the image lacks ${part}`)
  return [...faults, ...commandFaults([...words(last('ENTRYPOINT')), ...words(last('CMD'))], root)]
}

/** In the JSON form: the shell form swallows signals. */
function words(text: string): string[] {
  try {
    return JSON.parse(text) as string[]
  } catch {
    return [`${text} (not in the JSON form)`]
  }
}

function copyFaults(rest: string, { stage, stages, ignored, root }: { stage: Stage; stages: readonly Stage[]; ignored: readonly string[]; root: string }): string[] {
  const parts = rest.split(/\s+/)
  const from = parts[0]?.startsWith('--from=') === true ? parts.shift()?.slice('--from='.length) : undefined
  const sources = parts.slice(0, -1)
  for (const source of sources) stage.copied.push(path.basename(source))
  if (from !== undefined) return stages.some((one) => one !== stage && one.name === from) ? [] : [`there is no stage ${from}`]
  return sources.flatMap((source) => {
    if (!existsSync(path.join(root, source))) return [`${source} is copied and does not exist`]
    return ignored.includes(source) ? [`${source} is copied and .dockerignore leaves it out`] : []
  })
}

/** What `npm ci` reads, which builds, and the folders that the build compiles. */
function sourcesOfBuild(root: string): string[] {
  const { include } = JSON.parse(readFileSync(path.join(root, 'tsconfig.build.json'), 'utf8')) as { include: string[] }
  return ['package.json', 'package-lock.json', '.npmrc', 'tsconfig.json', 'tsconfig.build.json', ...include]
}
