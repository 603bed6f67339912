import type { Command } from 'commander'
import type { ServerIo } from './server-commands.js'

/** The commands about what the ledger proves. Each is loaded when it runs. */
export function registerAuditCommands(program: Command, io: ServerIo): void {
  program
    .command('verify')
    .description('check every rule of the ledger against its rows; says what is broken, where, and what to do')
    .option('--since <time>', 'only histories, prompts and slots that changed since (ISO 8601); what is open is checked in any case')
    .option('--resume <file>', 'write down after each page where it stands, and go on from there when the file exists; needs the same anchors, keys and secret')
    .option('--no-queues', 'leave the queue store alone')
    .option('--public-key <file>', 'check the signatures of checkpoints with the public keys in this PEM file (default: that of AGENTBUS_SIGNING_KEY)')
    .option('--anchor <seq:hash>', 'a checkpoint that was kept elsewhere; may be repeated', (one: string, all: string[]) => [...all, one], [])
    .option('--json', 'the report as JSON')
    .action(async (values: { since?: string; resume?: string; queues: boolean; publicKey?: string; anchor: string[]; json?: true }) => {
      const { verify } = await import('./verify.js')
      await verify(io, values)
    })
  program
    .command('checkpoint')
    .description('take checkpoints over all histories up to now, and print them so that they can be kept elsewhere')
    .option('--after-restore', 'record that the ledger was restored from a dump, and begin a new era of transaction numbers')
    .option('--public-key', 'print the public part of AGENTBUS_SIGNING_KEY instead')
    .action(async (values: { publicKey?: true; afterRestore?: true }) => {
      const { checkpoint } = await import('./checkpoint.js')
      await checkpoint(io, values)
    })
  program
    .command('audit')
    .description('what auditors take with them')
    .command('export')
    .description('write a bundle of histories and checkpoints that can be checked offline, with the script that checks it')
    .option('--from <time>', 'from the last checkpoint at this time on (ISO 8601; default: everything)')
    .option('--to <time>', 'up to the first checkpoint after this time (default: now)')
    .requiredOption('--out <folder>', 'a new or empty folder')
    .action(async (values: { from?: string; to?: string; out: string }) => {
      const { exportAudit } = await import('./export-audit.js')
      await exportAudit(io, values)
    })
  registerKeepingCommands(program, io)
}

/** The commands that keep the ledger: copies of it, and what of it is kept for how long. */
function registerKeepingCommands(program: Command, io: ServerIo): void {
  program
    .command('backup')
    .description('write the whole ledger, as it is at this moment, into a new folder; the bus may run meanwhile')
    .requiredOption('--out <folder>', 'a folder that is not there yet')
    .action(async (values: { out: string }) => {
      const { backup } = await import('./backup.js')
      await backup(io, values)
    })
  program
    .command('restore')
    .description('put a backup into the database of the settings, and verify it')
    .requiredOption('--from <folder>', 'what `agentbus backup` wrote')
    .option('--drill', 'into a scratch database, with queues under a scratch prefix; both are removed at the end')
    .option('--replace', 'drop the ledger that is in the database; without it, only an empty one is taken')
    .option('--public-key <file>', 'check the signatures of checkpoints with the public keys in this PEM file (default: that of AGENTBUS_SIGNING_KEY)')
    .action(async (values: { from: string; drill?: true; replace?: true; publicKey?: string }) => {
      const { restore } = await import('./restore.js')
      await restore(io, values)
    })
  program
    .command('prune')
    .description('take out what the section `retention` of the fleet file no longer keeps; the ledger still proves itself')
    .option('--dry-run', 'only say how much that would be')
    .option('--json', 'the result as JSON')
    .action(async (values: { dryRun?: true; json?: true }) => {
      const { prune } = await import('./prune.js')
      await prune(io, values)
    })
}
