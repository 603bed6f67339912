import { Command, CommanderError } from 'commander'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { EXIT, exitCodeOf } from './exit-codes.js'
import { CliError, type Io } from './io.js'

const SERVER_COMMANDS = new Set(['up', 'api', 'worker', 'migrate', 'demo'])

/** Runs one command line. @returns the exit code; nothing is thrown */
export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  const wantsJson = argv.includes('--json')
  try {
    await (await programFor(argv, io)).parseAsync(argv, { from: 'user' })
    return EXIT.ok
  } catch (error) {
    return report(error, io, wantsJson)
  }
}

/** Only what the command needs is loaded: an agent's `complete-job` must not wait for queues and servers. */
async function programFor(argv: readonly string[], io: Io): Promise<Command> {
  const program = new Command('agentbus')
    .description('The durable work bus for fleets of OpenClaw agents')
    .exitOverride()
    .showHelpAfterError('(agentbus --help lists the commands)')
    .configureOutput({ writeOut: (text) => void io.stdout.write(text), writeErr: (text) => void io.stderr.write(text) })
  const first = argv[0]
  const isServer = first !== undefined && SERVER_COMMANDS.has(first)
  if (!isServer) {
    const [{ registerClientCommands }, { registerFleetCommands }] = await Promise.all([import('./client/register.js'), import('./client/fleet-commands.js')])
    registerClientCommands(program, io)
    registerFleetCommands(program, io)
  }
  if (isServer || first === undefined || first === 'help' || first.startsWith('-')) {
    const { registerServerCommands } = await import('./server-commands.js')
    registerServerCommands(program, io)
  }
  return program
}

function report(error: unknown, io: Io, wantsJson: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
  if (error instanceof CliError) {
    io.stderr.write(wantsJson && error.problem !== undefined ? `${JSON.stringify(error.problem)}\n` : `agentbus: ${error.message}\n`)
    return error.exitCode
  }
  if (error instanceof AgentbusError) {
    io.stderr.write(`agentbus: ${error.message} ${error.next}\n`)
    return error.status === 500 ? EXIT.unexpected : exitCodeOf(error.status)
  }
  io.stderr.write(`agentbus: ${messageOf(error)}\n`)
  return EXIT.unexpected
}
