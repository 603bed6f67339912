import { readFile } from 'node:fs/promises'
import { beforeAll, expect, test } from 'vitest'
import { halvesFor } from '../../cli/program.js'
import { documentedCommands, type DocumentedCommand } from '../../scripts/commands.js'
import { codeOf, commandFaults } from './command-faults.js'
import { markdownPages } from './pages.js'

let commands: DocumentedCommand[]
// The whole program is loaded for it, servers and queues with it.
beforeAll(async () => {
  commands = await documentedCommands()
}, 120_000)

test('every command that a page calls exists, with its options', async () => {
  const faults: string[] = []
  let calls = 0
  for (const { file, text } of await markdownPages()) {
    const found = commandFaults(text, commands)
    faults.push(...found.faults.map((fault) => `${file}: ${fault}`))
    calls += found.calls
  }

  expect(faults).toEqual([])
  expect(calls).toBeGreaterThan(150)
})

test.each([
  ['a block of shell', '```sh\nnpx agentbus frobnicate --all\n```', ['agentbus frobnicate: no such command']],
  ['a line after a prompt', '```console\n$ AGENTBUS_TOKEN=$(cat bus-token) agentbus frobnicate\nagentbus is up.\n```', ['agentbus frobnicate: no such command']],
  ['an indented block', 'So:\n\n    agentbus frobnicate x   # as you like', ['agentbus frobnicate: no such command']],
  ['a span', 'Run `agentbus frobnicate`, and\n`agentbus verify` after it.', ['agentbus frobnicate: no such command']],
  ['a span over two lines', 'Run `agentbus verify\n--frobnicate` now.', ['agentbus verify --frobnicate: no such option']],
  ['a path to the program', '    node bin/agentbus.mjs frobnicate', ['agentbus frobnicate: no such command']],
  ['a command below another', '    agentbus token frobnicate', ['agentbus token frobnicate: no such command']],
  ['an option of such a one', '    agentbus audit export --frobnicate yes --out there', ['agentbus audit export --frobnicate: no such option']],
  ['an option with its value', '    agentbus jobs --frobnicate=1', ['agentbus jobs --frobnicate: no such option']],
  ['what follows a place to be filled in', '    agentbus cancel-job <own job> --frobnicate', ['agentbus cancel-job --frobnicate: no such option']],
  ['a short option', '    agentbus apply -x fleet.yaml', ['agentbus apply -x: no such option']],
  ['the second of two commands', '    agentbus jobs --json | head -5 && agentbus frobnicate', ['agentbus frobnicate: no such command']],
])('the check sees what is wrong in %s', (_where, markdown, faults) => {
  expect(commandFaults(markdown, commands).faults).toEqual(faults)
})

test('the check leaves alone prose, answers, other languages, and what is quoted or piped', () => {
  const pages = [
    'agentbus frobnicates nothing, and agentbus is no command.',
    '```console\n$ agentbus jobs\nagentbus frobnicate\n```',
    "```ini\narchive_command = 'pgbackrest --stanza=agentbus archive-push %p'\n```",
    '```yaml\nrun: agentbus frobnicate\n```',
    `    agentbus progress-job <job> --note "use --frobnicate, or agentbus frobnicate" --details '{"a": "--b"}'`,
    '    agentbus jobs --all --json | jq --raw-output .items',
    '`agentbus token` makes tokens, `agentbus verify --anchor 17:7f3c…` compares, `agentbus api --help` tells.',
  ]

  expect(pages.flatMap((page) => commandFaults(page, commands).faults)).toEqual([])
  expect(codeOf('`one` and\n`two\nwords`\n\n    three')).toEqual(['three', 'one', 'two words'])
})

test('every command has its heading in the page of the command line', async () => {
  const page = await readFile('docs/cli.md', 'utf8')

  const missing = commands.filter(({ name, args }) => !page.includes(`\n### \`${[name, ...args].join(' ')}\`\n`))

  expect(missing.map(({ name }) => name)).toEqual([])
  for (const name of ['pause', 'drain', 'unfreeze', 'restore', 'define-workflow', 'token create', 'audit export']) expect(commands.map((command) => command.name)).toContain(name)
})

test('every command is loaded by its own first word', () => {
  const wrong = commands.filter(({ name, group }) => halvesFor(name.split(' ')[0]).server !== (group === 'Server'))

  expect(wrong.map(({ name }) => name)).toEqual([])
  expect(commands.filter(({ group }) => group === 'Server').length).toBeGreaterThan(10)
})
