import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { loadFleetFile } from '../../config/fleet-file.js'
import { AgentId } from '../../contracts/ids.js'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { addConnection, clientOf, print } from './register.js'
import { table } from './show.js'

type Values = Record<string, unknown>

/** `apply`, `token` and `workspace`: the client commands that are more than one request. */
export function registerFleetCommands(program: Command, io: Io): void {
  const apply = program
    .command('apply')
    .description('bring gateways and agents to what a fleet file says, and show the difference')
    .helpGroup('Operating:')
    .requiredOption('-f, --file <fleet.yaml>', 'the fleet file')
    .option('--dry-run', 'show the difference and change nothing')
    .option('--prune', 'disable agents that the file does not name')
  addConnection(apply)
  apply.action(() => applyFile(apply.opts<Values>(), io))

  const token = program.command('token').description('make, list and revoke tokens').helpGroup('Operating:')
  const create = token
    .command('create')
    .description('make a token; it is shown once')
    .requiredOption('--name <name>', 'what it is for')
    .requiredOption('--role <role>', 'operator, agent or auditor')
    .option('--agent <id>', 'the agent, for the role agent')
    .option('--expires-at <time>', 'ISO 8601')
  addConnection(create)
  create.action(async () => {
    const values = create.opts<Values>()
    const body = { name: values['name'], role: values['role'], agent_id: values['agent'], expires_at: values['expiresAt'] }
    const made = await clientOf(values, io).call({ method: 'POST', path: '/v1/tokens', body })
    print(values, io, made, () => `${String(made['token'])}\n`)
  })
  const list = token.command('list').description('list tokens, without their secrets')
  addConnection(list)
  list.action(async () => {
    const values = list.opts<Values>()
    const answer = await clientOf(values, io).call({ method: 'GET', path: '/v1/tokens' })
    print(values, io, answer, () => table((answer['items'] as Values[] | undefined) ?? [], ['id', 'name', 'role', 'agent_id', 'created_at', 'expires_at', 'revoked_at']))
  })
  const revoke = token.command('revoke').description('revoke a token at once').argument('<id>')
  addConnection(revoke)
  revoke.action(async (id: string) => {
    const values = revoke.opts<Values>()
    const answer = await clientOf(values, io).call({ method: 'DELETE', path: `/v1/tokens/${encodeURIComponent(id)}` })
    print(values, io, answer, () => `revoked ${id}\n`)
  })

  const workspace = program
    .command('workspace')
    .description("write the contract block and the skill into an agent's OpenClaw workspace")
    .helpGroup('Agents:')
    .argument('<agent>')
    .requiredOption('--dir <folder>', "the agent's workspace folder")
    .option('--role <text>', 'what the agent is for')
    .option('--api-url <url>', 'where the agent reaches the API (default: AGENTBUS_URL)')
    .option('--command <text>', 'how the agent calls the CLI', 'agentbus')
  workspace.action((agent: string) => writeWorkspace(agent, workspace.opts<Values>(), io))
}

async function applyFile(values: Values, io: Io): Promise<void> {
  const fleet = await loadFleetFile(path.resolve(io.cwd, String(values['file'])))
  const answer = await clientOf(values, io).call({
    method: 'POST',
    path: '/v1/fleet',
    body: { fleet, dry_run: values['dryRun'] === true, prune: values['prune'] === true },
  })
  print(values, io, answer, () => difference((answer['changes'] as Values[] | undefined) ?? [], values['dryRun'] === true))
}

function difference(changes: readonly Values[], dryRun: boolean): string {
  const lines = changes.flatMap((change) => {
    if (change['change'] === 'unchanged') return []
    const fields = Object.entries((change['fields'] as Record<string, { from: unknown; to: unknown }> | undefined) ?? {})
    return [
      `${String(change['change'])} ${String(change['kind'])} ${String(change['id'])}`,
      ...fields.map(([name, { from, to }]) => `    ${name}: ${JSON.stringify(from)} → ${JSON.stringify(to)}`),
    ]
  })
  const unchanged = changes.filter((change) => change['change'] === 'unchanged').length
  return `${[...lines, `${unchanged} unchanged${dryRun ? '; nothing was written (dry run)' : ''}`].join('\n')}\n`
}

async function writeWorkspace(agent: string, values: Values, io: Io): Promise<void> {
  const id = AgentId.safeParse(agent)
  if (!id.success) throw new CliError(`${JSON.stringify(agent)} is no agent id: ${id.error.issues[0]?.message ?? ''}.`, EXIT.usage)
  const { mergeAgentsMd, renderWorkspaceFiles } = await import('../../openclaw/workspace.js')
  const apiUrl = typeof values['apiUrl'] === 'string' ? values['apiUrl'] : (io.env['AGENTBUS_URL'] ?? 'http://127.0.0.1:7717')
  const folder = path.resolve(io.cwd, String(values['dir']))
  const files = renderWorkspaceFiles({
    agentId: id.data,
    apiUrl,
    cliCommand: String(values['command']),
    ...(typeof values['role'] === 'string' ? { role: values['role'] } : {}),
  })
  for (const file of files) {
    const target = path.join(folder, file.path)
    await mkdir(path.dirname(target), { recursive: true })
    const existing = await readFile(target, 'utf8').catch(() => undefined)
    await writeFile(target, file.path === 'AGENTS.md' ? mergeAgentsMd(existing, file.content) : file.content)
    io.stdout.write(`wrote ${path.relative(io.cwd, target) || target}\n`)
  }
}
