import type { Command } from 'commander'
import type { Io } from '../io.js'
import { checked } from './checked-file.js'
import { addConnection, addIdempotencyKey, clientOf, idempotencyKeyOf, type Values } from './connection.js'
import { difference } from './difference.js'
import { rowsOf } from './json.js'
import { print } from './print.js'

/** `apply`: checks the fleet file here, where its lines are known, and sends it whole. */
export function registerApply(program: Command, io: Io): void {
  const apply = program
    .command('apply')
    .description('bring gateways and agents to what a fleet file says, and show the difference')
    .helpGroup('Operating:')
    .requiredOption('-f, --file <fleet.yaml>', 'the fleet file')
    .option('--dry-run', 'show the difference and change nothing')
    .option('--prune', 'disable agents that the file does not name')
  addIdempotencyKey(apply)
  addConnection(apply)
  apply.action(() => applyFile(apply.opts<Values>(), io))
}

async function applyFile(values: Values, io: Io): Promise<void> {
  const client = clientOf(values, io)
  const dryRun = values['dryRun'] === true
  const answer = await client.call({
    method: 'POST',
    path: '/v1/fleet',
    body: { fleet: await readFleet(String(values['file']), io), dry_run: dryRun, prune: values['prune'] === true },
    idempotencyKey: idempotencyKeyOf(values),
  })
  print(values, io, answer, () => difference(rowsOf(answer['changes']), { dryRun }))
}

async function readFleet(name: string, io: Io): Promise<unknown> {
  // Loaded here and not above: it brings a YAML parser and the schemas, which few other client commands need.
  const { loadFleetFile } = await import('../../config/fleet-file.js')
  return checked('fleet file', name, io, loadFleetFile)
}
