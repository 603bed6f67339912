import { lstat, mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { AgentbusError } from '../../contracts/errors.js'
import { EXIT } from '../exit-codes.js'
import { CliError, type Io } from '../io.js'
import { addJson, apiUrlOf, type Values } from './connection.js'
import { print } from './print.js'

/** `workspace`: writes the contract block and the skill where an agent trusts them. Calls no API. */
export function registerWorkspace(program: Command, io: Io): void {
  const workspace = program
    .command('workspace')
    .description("write the contract block and the skill into an agent's OpenClaw workspace")
    .helpGroup('Agents:')
    .argument('<agent>')
    .requiredOption('--dir <folder>', "the agent's workspace folder")
    .option('--role <text>', 'what the agent is for')
    .option('--api-url <url>', 'where the agent reaches the API (default: AGENTBUS_URL)')
    .option('--command <text>', 'how the agent calls the CLI', 'agentbus')
  addJson(workspace)
  workspace.action((agent: string) => writeWorkspace(agent, workspace.opts<Values>(), io))
}

type Outcome = 'written' | 'unchanged'

async function writeWorkspace(agent: string, values: Values, io: Io): Promise<void> {
  const [{ AgentId }, { mergeAgentsMd, renderWorkspaceFiles }] = await Promise.all([import('../../contracts/ids.js'), import('../../openclaw/workspace.js')])
  const id = AgentId.safeParse(agent)
  if (!id.success) throw new CliError(`<agent> is not an agent id: ${id.error.issues[0]?.message ?? 'not valid'}.`, EXIT.usage)
  const rendered = renderWorkspaceFiles({
    agentId: id.data,
    apiUrl: apiUrlOf(values, io, 'apiUrl'),
    cliCommand: commandOf(values),
    ...(typeof values['role'] === 'string' ? { role: values['role'] } : {}),
  })
  const folder = await folderOf(values, io)
  const wanted: { target: string; content: string; existing: string | undefined }[] = []
  // Everything is read and merged before anything is written: a fault leaves the workspace as it was.
  for (const file of rendered) {
    const target = path.join(folder, file.path)
    await refuseLinks(folder, file.path)
    const existing = await readExisting(target)
    wanted.push({ target, existing, content: file.path === 'AGENTS.md' ? merged(mergeAgentsMd, existing, file.content) : file.content })
  }
  const files: { path: string; outcome: Outcome }[] = []
  for (const { target, existing, content } of wanted) {
    if (existing !== content) await replace(target, content)
    files.push({ path: target, outcome: existing === content ? 'unchanged' : 'written' })
  }
  print(values, io, { files }, () => files.map((file) => `${file.outcome === 'written' ? 'wrote' : 'unchanged'} ${path.relative(io.cwd, file.path)}\n`).join(''))
}

/** What the agent will run, inside a sentence it trusts: one line, and nothing that ends the code it stands in. */
function commandOf(values: Values): string {
  const command = String(values['command'])
  if (/^[A-Za-z0-9@%_+=:,./\\ -]{1,300}$/.test(command)) return command
  throw new CliError('--command may hold letters, digits, spaces and @%_+=:,./\\- only.', EXIT.usage)
}

async function folderOf(values: Values, io: Io): Promise<string> {
  const folder = path.resolve(io.cwd, String(values['dir']))
  try {
    await mkdir(folder, { recursive: true })
    return await realpath(folder)
  } catch (error) {
    throw new CliError(`--dir cannot be used as a folder (${codeOf(error)}).`, EXIT.usage)
  }
}

/** The workspace is the agent's to write: a link in it could make an operator's command overwrite a file elsewhere. */
async function refuseLinks(folder: string, relative: string): Promise<void> {
  let at = folder
  for (const part of relative.split('/')) {
    at = path.join(at, part)
    const found = await lstat(at).catch(() => undefined)
    if (found === undefined) return
    if (found.isSymbolicLink()) throw new CliError(`${at} is a symbolic link. Remove it, or name with --dir the folder it leads to; nothing was written.`, EXIT.usage)
  }
}

/** Undefined only when there is no such file; text that could not be kept byte for byte is refused. */
async function readExisting(target: string): Promise<string | undefined> {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(target))
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw new CliError(`${target} cannot be read as UTF-8 text (${codeOf(error)}). Nothing was written.`, EXIT.usage)
  }
}

function merged(merge: (existing: string | undefined, block: string) => string, existing: string | undefined, block: string): string {
  try {
    return merge(existing, block)
  } catch (error) {
    if (error instanceof AgentbusError) throw new CliError(`${error.message} Nothing was written.`, EXIT.usage)
    throw error
  }
}

/** By way of a second file, so that a crash or a full disk leaves the first one whole. */
async function replace(target: string, content: string): Promise<void> {
  const mode = await lstat(target).then(
    (found) => found.mode & 0o777,
    () => 0o644,
  )
  const next = `${target}.agentbus-${process.pid}`
  try {
    await mkdir(path.dirname(target), { recursive: true })
    await writeFile(next, content, { flag: 'wx', mode })
    await rename(next, target)
  } catch (error) {
    await rm(next, { force: true })
    throw new CliError(`${target} cannot be written (${codeOf(error)}).`, EXIT.usage)
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unreadable'
}
