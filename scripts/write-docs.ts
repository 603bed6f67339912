import { readFile, writeFile } from 'node:fs/promises'
import { API_VERSION } from '../api/app.js'
import { openApiOf } from '../api/openapi.js'
import { routes } from '../api/routes/index.js'
import { COMMANDS } from '../cli/client/command-table.js'
import { EXIT } from '../cli/exit-codes.js'
import { ERRORS } from '../contracts/errors.js'

type Json = Record<string, unknown>

/** The pages that are made from code: file name to text. `--check` compares instead of writing. */
export function generatedDocs(): Record<string, string> {
  return { 'docs/errors.md': errors(), 'docs/cli.md': commandLine(), 'docs/api.md': api() }
}

function errors(): string {
  const rows = Object.entries(ERRORS).map(([code, { status, title, next }]) => `| \`${code}\` | ${status} | ${title} | ${next} |`)
  return `# Errors\n\nMade from \`contracts/errors.ts\`. Over REST each is a problem document (RFC 9457) with \`code\`, \`detail\`, \`next\` and, for bad input, \`errors\`.\n\n| code | HTTP | meaning | what to do |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

function commandLine(): string {
  const groups = [...new Set(COMMANDS.map((command) => command.group))]
  const parts = groups.map((group) => {
    const commands = COMMANDS.filter((command) => command.group === group).map((command) => {
      const options = command.options.map((option) => `| \`--${option.flag}\` | ${option.required === true ? 'required; ' : ''}${option.help.replaceAll('|', '\\|')} |`)
      const table = options.length === 0 ? '' : `\n\n| option | |\n|---|---|\n${options.join('\n')}`
      return `### ${command.name}${command.argument === undefined ? '' : ` <${command.argument}>`}\n\n${command.help}. \`${command.method} ${command.path}\`${table}`
    })
    return `## ${group}\n\n${commands.join('\n\n')}`
  })
  const exits = Object.entries(EXIT).map(([name, code]) => `| ${code} | ${name} |`)
  return `# Command line\n\nMade from \`cli/client/command-table.ts\`. Every client command takes \`--url\`, \`--token\` and \`--json\`; JSON options take text, \`@file\` or \`-\`. Beside them: \`delegate <agent> "<instruction>" --wait 60s\`, \`apply\`, \`set-standing-order\`, \`token\`, \`workspace\`, and the server commands \`up\`, \`api\`, \`worker\`, \`migrate\`, \`operator-token\`, \`verify\`, \`checkpoint\` and \`audit export\` ([audit.md](audit.md)), \`demo\` (\`--fast\` plays it without its pauses).\n\n| exit code | |\n|---|---|\n${exits.join('\n')}\n\n${parts.join('\n\n')}\n`
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

- **Sign-in**: \`Authorization: Bearer <token>\`. Roles are operator, agent and auditor; the token of an attempt opens its own job, and findings, inbox and projects in the name of its agent.
  Without a token only \`/healthz\` and \`/readyz\` answer. \`/metrics\` needs an operator or auditor.
- **Repeats**: POST, PUT and DELETE take \`Idempotency-Key\`; the same key and request are carried out once and answered alike for 48 hours.
- **Two writers**: the version of a job, a standing order or a project's status is its \`ETag\`; \`If-Match\` makes cancel, retry, bury and promote, and what sets or disables an order or writes a status, conditional.
- **Pages**: lists answer \`items\` and \`next_cursor\`; give it back as \`cursor\`.
- **Errors**: problem documents, see [errors.md](errors.md).
- **Limits**: a body has at most 256 KiB (a fleet 16 MiB), a JSON object 128 KiB, 32 levels and 5,000 keys. Text with U+0000 or a lone surrogate is refused.

| request | what | access | parameters |
|---|---|---|---|
${lines.join('\n')}
`
}

if (process.argv[1]?.endsWith('write-docs.ts') === true) {
  for (const [file, text] of Object.entries(generatedDocs())) {
    if (!process.argv.includes('--check')) await writeFile(file, text)
    else if ((await readFile(file, 'utf8')) !== text) throw new Error(`${file} is out of date: run npm run docs`)
  }
}
