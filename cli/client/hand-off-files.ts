import type { Command } from 'commander'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { checked } from './checked-file.js'
import { addConnection, addIdempotencyKey, addIfVersion, clientOf, idempotencyKeyOf, ifVersionOf, pathId, type Values } from './connection.js'
import { difference } from './difference.js'
import { asObject } from './json.js'
import { print } from './print.js'
import { show } from './show.js'

/** `set-subscription`: one subscription from a file, checked here, where its lines are known. */
export function registerSetSubscription(program: Command, io: Io): void {
  const command = program
    .command('set-subscription')
    .description('bring one subscription to what a file says, and show the difference')
    .helpGroup('Hand-offs:')
    .argument('<name>')
    .requiredOption('-f, --file <subscription.yaml>', 'one subscription as in the fleet file, YAML or JSON; the name may be left out')
    .option('--dry-run', 'show the difference and change nothing')
  addIfVersion(command)
  addIdempotencyKey(command)
  addConnection(command)
  command.action((name: string) => setSubscription(name, command.opts<Values>(), io))
}

async function setSubscription(name: string, values: Values, io: Io): Promise<void> {
  const client = clientOf(values, io)
  const path = `/v1/subscriptions/${pathId('name', name)}`
  const dryRun = values['dryRun'] === true
  const { loadSubscriptionFile } = await import('../../config/fleet-file.js')
  const { name: named, ...body } = await checked('subscription file', String(values['file']), io, loadSubscriptionFile)
  if (named !== undefined && named !== name) throw new CliError(`The file is about ${named}, not ${name}. Nothing was sent.`, EXIT.usage)
  const answer = await client.call({
    method: 'PUT',
    path,
    ...(dryRun ? { query: { dry_run: 'true' } } : {}),
    body,
    idempotencyKey: idempotencyKeyOf(values),
    ifVersion: ifVersionOf(values),
  })
  print(values, io, answer, () => difference([asObject(answer['change'])], { dryRun }))
}

/** `define-workflow`: a workflow from a file, checked here likewise. */
export function registerDefineWorkflow(program: Command, io: Io): void {
  const command = program
    .command('define-workflow')
    .description('put the workflow of a file in force; the same file again changes nothing')
    .helpGroup('Workflows:')
    .requiredOption('-f, --file <workflow.yaml>', 'a workflow, YAML or JSON')
    .option('--check', 'only say whether the file is valid')
  addIdempotencyKey(command)
  addConnection(command)
  command.action(() => defineWorkflow(command.opts<Values>(), io))
}

async function defineWorkflow(values: Values, io: Io): Promise<void> {
  const { loadWorkflowFile } = await import('../../config/fleet-file.js')
  const workflow = await checked('workflow file', String(values['file']), io, loadWorkflowFile)
  if (values['check'] === true) {
    print(values, io, { name: workflow.name, steps: workflow.steps.length }, () => `workflow ${workflow.name}: ${workflow.steps.length} steps, no fault\n`)
    return
  }
  const answer = await clientOf(values, io).call({ method: 'POST', path: '/v1/workflows', body: { ...workflow }, idempotencyKey: idempotencyKeyOf(values) })
  print(values, io, answer, () => show('workflow', answer))
}
