import { readFile, writeFile } from 'node:fs/promises'
import { API_VERSION } from '../api/app.js'
import { openApiOf } from '../api/openapi.js'
import { routes } from '../api/routes/index.js'
import { exitCodeMeanings } from '../cli/exit-codes.js'
import { ERRORS } from '../contracts/errors.js'
import { documentedCommands, type DocumentedCommand, type DocumentedOption } from './commands.js'

type Json = Record<string, unknown>

/** The pages that are made from code: file name to text. `--check` compares instead of writing. */
export async function generatedDocs(): Promise<Record<string, string>> {
  return { 'docs/errors.md': errors(), 'docs/cli.md': await commandLine(), 'docs/api.md': api() }
}

function errors(): string {
  const rows = Object.entries(ERRORS).map(([code, { status, title, next }]) => `| \`${code}\` | ${status} | ${title} | ${next} |`)
  return `# Errors\n\nMade from \`contracts/errors.ts\`. Over REST each is a problem document (RFC 9457) with \`code\`, \`detail\`, \`next\` and, for bad input, \`errors\`.\n\n| code | HTTP | meaning | what to do |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

async function commandLine(): Promise<string> {
  const commands = await documentedCommands()
  const groups = [...new Set(commands.map((command) => command.group))]
  const parts = groups.map(
    (group) =>
      `## ${group}\n\n${commands
        .filter((command) => command.group === group)
        .map(commandPart)
        .join('\n\n')}`,
  )
  const exits = exitCodeMeanings().map(({ code, meaning }) => `| ${code} | ${meaning} |`)
  return `# Command line

Made from the program itself; \`agentbus <command> --help\` says the same. Every command that calls the API takes \`--url\` (default: \`AGENTBUS_URL\`),
\`--token\` (\`AGENTBUS_TOKEN\`) and \`--json\` (JSON on stdout and nothing else), which are not repeated below. Options with JSON take it as text, from \`@file\`, or
from stdin with \`-\`. Many commands are one request, which stands beside them.

| exit code | meaning |
|---|---|
${exits.join('\n')}

${parts.join('\n\n')}
`
}

function commandPart(command: DocumentedCommand): string {
  const shown = command.options.filter((option) => !command.callsApi || !option.isConnection)
  const rows = shown.map(optionRow)
  const table = rows.length === 0 ? '' : `\n\n| option | |\n|---|---|\n${rows.join('\n')}`
  const request = command.request === undefined ? '' : ` \`${command.request}\``
  return `### \`${[command.name, ...command.args].join(' ')}\`\n\n${command.help}.${request}${table}`
}

function optionRow({ flags, required, help, defaultValue }: DocumentedOption): string {
  const end = defaultValue === undefined ? '' : ` (default: ${cell(defaultValue)})`
  return `| \`${cell(flags)}\` | ${required ? 'required; ' : ''}${cell(help)}${end} |`
}

/** A bar ends a cell of a table, even between backticks. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

function api(): string {
  const document = openApiOf(routes, API_VERSION)
  const lines = routes.map((route) => {
    const operation = (document['paths'] as Record<string, Record<string, Json>>)[route.path]?.[route.method] ?? {}
    const parameters = ((operation['parameters'] as Json[] | undefined) ?? []).map((parameter) => String(parameter['name']))
    return `| \`${route.method.toUpperCase()} ${route.path}\` | ${route.summary} | ${route.access} | ${parameters.map((name) => `\`${name}\``).join(', ')} |`
  })
  return `# REST

Made from the route table. The full description with all schemas is served at \`/v1/openapi.json\` (OpenAPI 3.1).

- **Sign-in**: \`Authorization: Bearer <token>\`. Roles are operator, agent and auditor; the token of an attempt opens its own job, and findings, inbox, projects, ideas, opportunities and
  memories in the name of its agent. Without a token only \`/healthz\` and \`/readyz\` answer. \`/metrics\` needs an operator or auditor.
- **Repeats**: POST, PUT and DELETE take \`Idempotency-Key\`; the same key and request are carried out once and answered alike for 48 hours.
- **Two writers**: the version of a job, a standing order, a project's status, an idea, an opportunity, a memory candidate or a memory is its \`ETag\`; \`If-Match\` makes conditional what lists it as a parameter: cancel, retry, bury and promote, what sets or disables an order or writes a status, and every decision about an idea, an opportunity, a candidate or a memory.
- **Pages**: lists answer \`items\` and \`next_cursor\`; give it back as \`cursor\`.
- **Errors**: problem documents, see [errors.md](errors.md).
- **Limits**: a body has at most 256 KiB (a fleet 16 MiB), a JSON object 128 KiB, 32 levels and 5,000 keys. Text with U+0000 or a lone surrogate is refused.

| request | what | access | parameters |
|---|---|---|---|
${lines.join('\n')}
`
}

if (process.argv[1]?.endsWith('write-docs.ts') === true) {
  for (const [file, text] of Object.entries(await generatedDocs())) {
    if (!process.argv.includes('--check')) await writeFile(file, text)
    else if ((await readFile(file, 'utf8')) !== text) throw new Error(`${file} is out of date: run npm run docs`)
  }
}
