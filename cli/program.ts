import type { Command } from 'commander'
import type { Io } from './io.js'

/** The commands that need stores, by their names; every other one only talks to the API, or to nobody. */
const SERVER_COMMANDS: ReadonlySet<string> = new Set(['up', 'api', 'worker', 'migrate', 'demo', 'operator-token', 'verify', 'checkpoint', 'audit', 'backup', 'restore', 'prune'])

/** Which halves of the program are registered. */
export interface Halves {
  readonly client: boolean
  readonly server: boolean
}

/** What has to be loaded for a command line that begins with this word: an agent's `complete-job` must not wait for queues and servers. */
export function halvesFor(first: string | undefined): Halves {
  const isServer = first !== undefined && SERVER_COMMANDS.has(first)
  return { client: !isServer, server: isServer || first === undefined || first === 'help' || first.startsWith('-') }
}

/**
 * Registers the commands of agentbus on `program`. With both halves it is the whole program, as `agentbus --help` shows it;
 * the documentation is made from that, and its commands are checked against it.
 */
export async function registerCommands(program: Command, io: Io, halves: Halves): Promise<void> {
  if (halves.client) {
    const { registerClientCommands } = await import('./client/register.js')
    registerClientCommands(program, io)
  }
  if (halves.server) {
    const { registerServerCommands } = await import('./server-commands.js')
    registerServerCommands(program, io)
    const { registerAuditCommands } = await import('./audit-commands.js')
    registerAuditCommands(program, io)
  }
}
