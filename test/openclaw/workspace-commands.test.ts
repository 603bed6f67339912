import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { renderWorkspaceFiles } from '../../openclaw/workspace.js'
import { documentedCommands, type DocumentedCommand } from '../../scripts/commands.js'
import { startApi, type TestApi } from '../api/support.js'
import { run } from '../cli/stand-in.js'
import { commandFaults } from '../docs/command-faults.js'
import { aJob } from '../support/ledger.js'
import { aCandidate, aMemory, anIdea, anOpportunity } from '../support/thoughts.js'

const files = renderWorkspaceFiles({ agentId: 'devops', role: 'operations', apiUrl: 'http://127.0.0.1:7717', cliCommand: 'agentbus' })
const contentOf = (path: string): string => files.find((file) => file.path === path)?.content ?? ''
const skill = contentOf('skills/agentbus/SKILL.md')

/** The commands in the tables of the skill: what stands in a row as a whole, and what its words name beside that. */
function tableCommands(text: string): { readonly whole: string[]; readonly named: string[] } {
  const [whole, named]: [string[], string[]] = [[], []]
  for (const line of text.split('\n')) {
    const cell = /^\| .* \| (.*) \|$/.exec(line)?.[1] ?? ''
    const spans = [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')
    const options = spans.filter((span) => span.startsWith('--')).join(' ')
    // What is added to a close is added to any of them.
    if (!cell.startsWith('`')) named.push(...(options === '' ? [] : [`complete-job <job> ${options}`]))
    else {
      whole.push(`${spans[0] ?? ''} ${options}`.trim())
      named.push(...spans.slice(1).filter((span) => /^[a-z]+(-[a-z]+)+ /.test(span)))
    }
  }
  return { whole, named }
}

const asCode = (lines: readonly string[]): string => lines.map((line) => `    agentbus ${line}`).join('\n')

describe('the commands that the workspace names', () => {
  let commands: DocumentedCommand[]
  // The whole program is loaded for it, servers and queues with it.
  beforeAll(async () => {
    commands = await documentedCommands()
  }, 120_000)

  test('exist, with their options', () => {
    const { whole, named } = tableCommands(skill)

    const found = [contentOf('AGENTS.md'), skill, asCode(whole), asCode(named)].map((text) => commandFaults(text, commands))

    expect(found.flatMap(({ faults }) => faults)).toEqual([])
    expect(found.map(({ calls }) => calls > 0)).toEqual([true, true, true, true])
    expect([whole.length > 25, named.length > 3]).toEqual([true, true])
  })

  test('have every option that they need, so that a line can be pasted', () => {
    const missing = tableCommands(skill).whole.flatMap((line) => {
      const command = commands.find(({ name }) => name === line.split(' ')[0])
      const needed = (command?.options ?? []).filter(({ required }) => required)
      return needed.filter(({ names }) => !names.some((name) => line.includes(` ${name} `))).map(({ flags }) => `${line}: ${flags}`)
    })

    expect(missing).toEqual([])
  })

  test('are seen to be wrong when they are', () => {
    const { whole, named } = tableCommands('| a | `frobnicate <job> --note "..."` |\n| b | add `--frobnicate 1` |\n| c | `job <job>`; then `block-jobs --waits-for x` |')

    expect(commandFaults(asCode([...whole, ...named]), commands).faults).toEqual([
      'agentbus frobnicate: no such command',
      'agentbus complete-job --frobnicate: no such option',
      'agentbus block-jobs: no such command',
    ])
  })
})

describe('a line of the skill about ideas, opportunities and memories', () => {
  let api: TestApi
  beforeAll(async () => {
    api = await startApi()
  }, 60_000)
  afterAll(() => api.close())

  const lines = tableCommands(skill.slice(skill.indexOf('## Ideas'))).whole

  /** What stands for each `<place>`: each of them is a thought of the agent itself. */
  async function filled(line: string, job: string): Promise<string[]> {
    const { ledger } = api.t
    const makers: Readonly<Record<string, () => Promise<{ id: unknown }>>> = {
      job: async () => ({ id: job }),
      idea: () => anIdea(ledger),
      opportunity: () => anOpportunity(ledger),
      candidate: () => aCandidate(ledger),
      memory: () => aMemory(ledger),
    }
    const places: Record<string, string> = {}
    for (const [, name = ''] of line.matchAll(/<([a-z]+)>/g)) places[name] = String((await makers[name]?.())?.id)
    const whole = line.replace(/<([a-z]+)>/g, (_place, name: string) => places[name] ?? '')
    return [...whole.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, single, double, plain]) => single ?? double ?? plain ?? '')
  }

  test.each(lines)('does what it says with the token of the order and with that of the agent: %s', async (line) => {
    const order = await aJob(api.t.ledger, 'running')
    const tokens = [order.attemptToken, await api.t.agentToken('devops')]

    const codes: string[] = []
    for (const token of tokens) {
      const ran = await run(await filled(line, order.id), { env: { AGENTBUS_URL: api.url, AGENTBUS_TOKEN: token } })
      codes.push(`${ran.code} ${ran.stderr}`)
    }

    expect(codes).toEqual(['0 ', '0 '])
  })

  test('is there for each of the kinds', () => {
    const names = lines.map((line) => line.split(' ')[0])

    for (const name of ['create-idea', 'ideas', 'create-opportunity', 'opportunities', 'create-memory-candidate', 'memories']) expect(names).toContain(name)
  })
})
