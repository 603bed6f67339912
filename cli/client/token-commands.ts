import type { Command } from 'commander'
import type { Io } from '../io.js'
import { addConnection, addIdempotencyKey, clientOf, idempotencyKeyOf, pathId, type Values } from './connection.js'
import { rowsOf } from './json.js'
import { print } from './print.js'
import { table } from './tables.js'

/** `token create`, `token list` and `token revoke`. */
export function registerTokens(program: Command, io: Io): void {
  const token = program.command('token').description('make, list and revoke tokens').helpGroup('Operating:')
  const create = token
    .command('create')
    .description('make a token; it is shown once')
    .requiredOption('--name <name>', 'what it is for')
    .requiredOption('--role <role>', 'operator, agent or auditor')
    .option('--agent <id>', 'the agent, for the role agent')
    .option('--expires-at <time>', 'ISO 8601')
  addConnection(create)
  create.action(() => createToken(create.opts<Values>(), io))

  const list = token.command('list').description('list tokens, without their secrets')
  addConnection(list)
  list.action(() => listTokens(list.opts<Values>(), io))

  const revoke = token.command('revoke').description('revoke a token at once').argument('<token-id>')
  addIdempotencyKey(revoke)
  addConnection(revoke)
  revoke.action((id: string) => revokeToken(id, revoke.opts<Values>(), io))
}

async function createToken(values: Values, io: Io): Promise<void> {
  const body = { name: values['name'], role: values['role'], agent_id: values['agent'], expires_at: values['expiresAt'] }
  // The ledger keeps no answer that holds a token, so it cannot give it twice; sent again, there could be a token nobody knows of.
  const made = await clientOf(values, io).call({ method: 'POST', path: '/v1/tokens', body, unrepeatable: true })
  // Alone on its line, so that a script can take it.
  print(values, io, made, () => `${String(made['token'])}\n`)
}

async function listTokens(values: Values, io: Io): Promise<void> {
  const answer = await clientOf(values, io).call({ method: 'GET', path: '/v1/tokens' })
  print(values, io, answer, () => table(rowsOf(answer['items']), ['id', 'name', 'role', 'agent_id', 'created_by', 'created_at', 'expires_at', 'revoked_at']))
}

async function revokeToken(id: string, values: Values, io: Io): Promise<void> {
  const answer = await clientOf(values, io).call({ method: 'DELETE', path: `/v1/tokens/${pathId('token-id', id)}`, idempotencyKey: idempotencyKeyOf(values) })
  print(values, io, answer, () => `revoked ${id}\n`)
}
