import { Command, CommanderError } from 'commander'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { EXIT, exitCodeHelp, exitCodeOf } from './exit-codes.js'
import { CliError, type Io } from './io.js'
import { jsonText, oneLine, printable, withoutTokens } from './printable.js'
import { halvesFor, registerCommands } from './program.js'

/** Runs one command line. @returns the exit code; nothing is thrown */
export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  const json = argv.includes('--json')
  // Whatever a failure says passes here: a token given on the command line or in the environment is not repeated.
  const given = [io.env['AGENTBUS_TOKEN'], ...tokensIn(argv)]
  const say = (text: string): void => void io.stderr.write(withoutTokens(text, given))
  try {
    const program = await programFor(argv, io, json ? () => undefined : say)
    await program.parseAsync(argv, { from: 'user' })
    return EXIT.ok
  } catch (error) {
    const failure = failureOf(error, argv)
    if (failure === undefined) return EXIT.ok
    if (json) say(`${jsonText(failure.problem, { indent: 0 })}\n`)
    else if (failure.line !== '') say(`agentbus: ${failure.line}\n`)
    return failure.exitCode
  }
}

async function programFor(argv: readonly string[], io: Io, help: (text: string) => void): Promise<Command> {
  const program = new Command('agentbus')
    .description('The durable work bus for fleets of OpenClaw agents')
    .exitOverride()
    .configureOutput({ writeOut: (text) => void io.stdout.write(text), writeErr: help, outputError: () => undefined })
    .addHelpText('after', exitCodeHelp())
  await registerCommands(program, io, halvesFor(argv[0]))
  return program
}

interface Failure {
  readonly exitCode: number
  /** For people; empty when help was shown instead. */
  readonly line: string
  /** For programs, in the shape of a problem document. */
  readonly problem: Record<string, unknown>
}

/** How a thrown value is told; undefined when nothing failed (help was asked for). */
function failureOf(error: unknown, argv: readonly string[]): Failure | undefined {
  if (error instanceof CommanderError) return error.exitCode === 0 ? undefined : misuse(error, argv)
  if (error instanceof CliError) return { exitCode: error.exitCode, line: printable(error.message), problem: error.problem ?? local(error.message, error.exitCode) }
  if (error instanceof AgentbusError) {
    const exitCode = error.status === 500 ? EXIT.unexpected : exitCodeOf(error.status)
    return { exitCode, line: printable(`${error.message} ${error.next}`), problem: { ...local(error.message, exitCode), code: error.code, next: error.next } }
  }
  const message = oneLine(messageOf(error))
  return { exitCode: EXIT.unexpected, line: message, problem: local(message, EXIT.unexpected) }
}

/** A failure that no server told: a problem document without a status. */
function local(detail: string, exitCode: number): Record<string, unknown> {
  return { type: 'about:blank', title: 'The command failed', detail, exit_code: exitCode }
}

/** An unknown command or option, a missing value: what is wrong, what may have been meant, where to look. */
function misuse(error: CommanderError, argv: readonly string[]): Failure {
  const next = nextFor(error, argv)
  // Without a command, commander has shown the help.
  if (error.code.startsWith('commander.help')) return { exitCode: EXIT.usage, line: '', problem: { ...local('A command is missing.', EXIT.usage), next } }
  const [what = '', hint] = error.message.replace(/^error: /, '').split('\n')
  const detail = oneLine(`${what.replace(/\.$/, '')}.${hint === undefined ? '' : ` ${hint.replace(/^\(|\)$/g, '')}`}`)
  return { exitCode: EXIT.usage, line: `${detail} ${next}`, problem: { ...local(detail, EXIT.usage), next } }
}

function nextFor(error: CommanderError, argv: readonly string[]): string {
  const isKnown = error.code !== 'commander.unknownCommand' && argv[0] !== undefined && /^[a-z][a-z-]*$/.test(argv[0])
  return isKnown ? `See \`agentbus ${argv[0]} --help\`.` : 'See `agentbus --help`.'
}

function tokensIn(argv: readonly string[]): string[] {
  return argv.flatMap((word, at) => {
    if (word.startsWith('--token=')) return [word.slice('--token='.length)]
    return word === '--token' ? argv.slice(at + 1, at + 2) : []
  })
}
