import path from 'node:path'
import type { Command } from 'commander'
import { isCode } from '../../contracts/errors.js'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { jsonText, oneLine } from '../printable.js'
import { addConnection, addIdempotencyKey, clientOf, idempotencyKeyOf, type Values } from './connection.js'
import { print } from './print.js'
import { asObject, rowsOf, type Json } from './json.js'

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
  // Loaded here and not above: it brings a YAML parser and the schemas, which no other client command needs.
  const { loadFleetFile } = await import('../../config/fleet-file.js')
  const file = path.resolve(io.cwd, name)
  try {
    return await loadFleetFile(file)
  } catch (error) {
    if (!isCode(error, 'AGENTBUS_CONFIG')) throw error
    const faults = error.message.split('\n').map((line) => (line.startsWith(file) ? `${name}${line.slice(file.length)}` : line))
    const next = 'Correct the fleet file; nothing was sent.'
    throw new CliError([...faults, next].join('\n'), EXIT.usage, { title: 'The fleet file is not valid', detail: faults[0], faults, next, exit_code: EXIT.usage })
  }
}

function difference(changes: readonly Json[], { dryRun }: { readonly dryRun: boolean }): string {
  const lines = changes.flatMap((change) => {
    if (change['change'] === 'unchanged') return []
    const fields = Object.entries(asObject(change['fields'])).map(([name, value]) => {
      const { from, to } = asObject(value)
      return oneLine(`    ${name}: ${change['change'] === 'added' ? '' : `${valueText(from)} → `}${valueText(to)}`, 300)
    })
    return [oneLine(`${String(change['change'])} ${String(change['kind'])} ${String(change['id'])}`), ...fields]
  })
  const unchanged = changes.filter((change) => change['change'] === 'unchanged').length
  const changed = changes.length - unchanged
  return `${[...lines, `${changed} changed, ${unchanged} unchanged${dryRun ? '; nothing was written (dry run)' : ''}`].join('\n')}\n`
}

function valueText(value: unknown): string {
  return value === undefined ? '(none)' : jsonText(value, { indent: 0 })
}
