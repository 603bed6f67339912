import { Command, type Option } from 'commander'
import { addConnection } from '../cli/client/connection.js'
import { COMMANDS } from '../cli/client/command-table.js'
import { registerCommands } from '../cli/program.js'
import type { Io } from '../cli/io.js'

/** A command of the program, as documentation and its tests need it. */
export interface DocumentedCommand {
  /** With its parent: `token create`. */
  readonly name: string
  /** The heading under which `agentbus --help` lists it. */
  readonly group: string
  readonly help: string
  /** Positional arguments as they are written, `<agent>`. */
  readonly args: readonly string[]
  /** Every option, with those that all commands of its kind have. */
  readonly options: readonly DocumentedOption[]
  /** Whether it takes `--url`, `--token` and `--json` for a call of the API. */
  readonly callsApi: boolean
  /** The one request that it makes, when it makes exactly one. */
  readonly request: string | undefined
  /** Whether others stand below it; then it does nothing by itself. */
  readonly isGroup: boolean
}

export interface DocumentedOption {
  /** As in the help: `-f, --file <fleet.yaml>`. */
  readonly flags: string
  /** Each way to write it, `-f` and `--file`. */
  readonly names: readonly string[]
  readonly help: string
  readonly required: boolean
  readonly defaultValue: string | undefined
  /** One of those that every call of the API has. */
  readonly isConnection: boolean
}

const NOBODY: Io = { env: {}, stdin: (async function* () {})(), stdout: { write: () => true }, stderr: { write: () => true }, cwd: '.' }

const CONNECTION: ReadonlySet<string> = connectionFlags()

function connectionFlags(): Set<string> {
  const command = new Command()
  addConnection(command)
  return new Set(command.options.map(keyOf))
}

function keyOf(option: Option): string {
  return `${option.flags} ${option.description}`
}

/** Every command of agentbus, those below others included, in the order in which the program registers them. */
export async function documentedCommands(): Promise<DocumentedCommand[]> {
  const program = new Command('agentbus')
  await registerCommands(program, NOBODY, { client: true, server: true })
  return program.commands.flatMap((command) => withThoseBelow(command))
}

function withThoseBelow(command: Command, parent?: DocumentedCommand): DocumentedCommand[] {
  const name = parent === undefined ? command.name() : `${parent.name} ${command.name()}`
  const row = COMMANDS.find((one) => one.name === name)
  const options = command.options.map(documentedOption)
  const own: DocumentedCommand = {
    name,
    group: parent?.group ?? (command.helpGroup() === '' ? 'Server' : command.helpGroup().replace(/:$/, '')),
    help: command.description(),
    args: command.registeredArguments.map((argument) => (argument.required ? `<${argument.name()}>` : `[${argument.name()}]`)),
    options,
    callsApi: options.filter(({ isConnection }) => isConnection).length === CONNECTION.size,
    request: row === undefined ? undefined : `${row.method} ${row.path}`,
    isGroup: command.commands.length > 0,
  }
  return [own, ...command.commands.flatMap((child) => withThoseBelow(child, own))]
}

function documentedOption(option: Option): DocumentedOption {
  const value: unknown = option.defaultValue
  return {
    flags: option.flags,
    names: [option.short, option.long].filter((name) => name !== undefined),
    help: option.description,
    required: option.mandatory,
    // An empty list is where a repeated option begins, and nothing that anybody chooses.
    defaultValue: typeof value === 'string' ? value : undefined,
    isConnection: CONNECTION.has(keyOf(option)),
  }
}
