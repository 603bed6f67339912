import type { Command } from 'commander'
import type { Io } from '../io.js'
import { checked } from './checked-file.js'
import { addConnection, addIdempotencyKey, addIfVersion, clientOf, idempotencyKeyOf, ifVersionOf, orderPath, type Values } from './connection.js'
import { difference } from './difference.js'
import { asObject } from './json.js'
import { print } from './print.js'

/** `set-standing-order`: one order from a file, checked here, where its lines are known. */
export function registerSetOrder(program: Command, io: Io): void {
  const command = program
    .command('set-standing-order')
    .description('bring one standing order to what a file says, and show the difference')
    .helpGroup('Standing orders:')
    .argument('<agent/name>')
    .requiredOption('-f, --file <order.yaml>', 'one order as in the fleet file, YAML or JSON; agent and name may be left out')
    .option('--dry-run', 'show the difference and change nothing')
  addIfVersion(command)
  addIdempotencyKey(command)
  addConnection(command)
  command.action((key: string) => setOrder(key, command.opts<Values>(), io))
}

async function setOrder(key: string, values: Values, io: Io): Promise<void> {
  const client = clientOf(values, io)
  const path = `/v1/standing-orders/${orderPath(key)}`
  const dryRun = values['dryRun'] === true
  // Loaded here and not above: it brings a YAML parser and the schemas, which few other client commands need.
  const { loadOrderFile } = await import('../../config/fleet-file.js')
  const answer = await client.call({
    method: 'PUT',
    path,
    ...(dryRun ? { query: { dry_run: 'true' } } : {}),
    body: await checked('order file', String(values['file']), io, loadOrderFile),
    idempotencyKey: idempotencyKeyOf(values),
    ifVersion: ifVersionOf(values),
  })
  print(values, io, answer, () => difference([asObject(answer['change'])], { dryRun }))
}
