import type { Command } from 'commander'
import type { ServerIo } from './server-commands.js'

/** The commands about what the ledger proves. Each is loaded when it runs. */
export function registerAuditCommands(program: Command, io: ServerIo): void {
  program
    .command('verify')
    .description('check every rule of the ledger against its rows; says what is broken, where, and what to do')
    .option('--since <time>', 'only histories, prompts and slots that changed since (ISO 8601); what is open is checked in any case')
    .option('--resume <file>', 'write down after each page where it stands, and go on from there when the file exists')
    .option('--no-queues', 'leave the queue store alone')
    .option('--json', 'the report as JSON')
    .action(async (values: { since?: string; resume?: string; queues: boolean; json?: true }) => {
      const { verify } = await import('./verify.js')
      await verify(io, values)
    })
}
