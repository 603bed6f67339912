import type { DocumentedCommand } from '../../scripts/commands.js'

/** Fenced blocks in which a line may be a command; in the others (YAML, SQL, settings) `agentbus` is a name. */
const SHELLS: ReadonlySet<string> = new Set(['', 'sh', 'bash', 'shell', 'console', 'text'])

/** The pieces of a page that are code: lines of blocks, and spans between backticks. Prose may say "agentbus is" as it likes. */
export function codeOf(markdown: string): string[] {
  const pieces: string[] = []
  const prose: string[] = []
  let block: { readonly isShell: boolean; readonly lines: string[] } | undefined
  for (const line of markdown.split('\n')) {
    const fence = /^ {0,3}```(\w*)/.exec(line)
    if (block !== undefined) {
      if (fence === null) block.lines.push(line)
      else {
        if (block.isShell) pieces.push(...commandsIn(block.lines))
        block = undefined
      }
    } else if (fence !== null) {
      block = { isShell: SHELLS.has(fence[1] ?? ''), lines: [] }
      prose.push('')
    } else if (/^ {4}/.test(line)) pieces.push(line.trim())
    else prose.push(line)
  }
  // A span may go over a line, and never over an empty one: a backtick too many spoils one paragraph only.
  for (const paragraph of prose.join('\n').split(/\n\s*\n/)) pieces.push(...[...paragraph.matchAll(/`([^`]+)`/g)].map((match) => (match[1] ?? '').replace(/\s+/g, ' ')))
  return pieces
}

/** Where some lines of a block have a prompt, the others are what was answered. */
function commandsIn(lines: readonly string[]): string[] {
  const joined = lines.join('\n').replace(/\\\n\s*/g, ' ').split('\n')
  const typed = joined.filter((line) => line.startsWith('$ '))
  return typed.length === 0 ? joined : typed.map((line) => line.slice(2))
}

/** Every call of agentbus in a piece of code: the words after it, up to the end of the command. */
function callsIn(code: string): string[][] {
  // What is quoted, a place to be filled in, a comment: none of them is a word of the command.
  const plain = code
    .replace(/'[^']*'|"[^"]*"/g, '_')
    .replace(/<[^<>]*>/g, '_')
    .replace(/(^|\s)#.*$/, '')
  return plain.split(/\s*(?:&&|\|\||[|;>])\s*/).flatMap((command) => {
    const words = /(?:^|[\s(/])agentbus(?:\.mjs)?\s+([a-z][^`]*)$/.exec(command)?.[1]
    return words === undefined ? [] : [words.split(/[\s)]+/).filter((word) => word !== '')]
  })
}

/** What is wrong with the calls of agentbus in a page, and how many calls there were. */
export function commandFaults(markdown: string, commands: readonly DocumentedCommand[]): { readonly faults: string[]; readonly calls: number } {
  const calls = codeOf(markdown).flatMap(callsIn)
  return { faults: calls.flatMap((words) => faultsOf(words, commands)), calls: calls.length }
}

function faultsOf(words: readonly string[], commands: readonly DocumentedCommand[]): string[] {
  const [first = '', second] = words
  const top = commands.find(({ name }) => name === first)
  if (top === undefined) return [`agentbus ${first}: no such command`]
  // Some pages name a group of commands by its first word alone.
  const isBelow = top.isGroup && second !== undefined && /^[a-z]/.test(second)
  const command = isBelow ? commands.find(({ name }) => name === `${first} ${second}`) : top
  if (command === undefined) return [`agentbus ${first} ${second ?? ''}: no such command`]
  const known = new Set(['--help', ...command.options.flatMap(({ names }) => names)])
  return words.flatMap((word) => {
    const flag = /^(--?[a-z][a-z-]*)(?:=.*)?$/.exec(word)?.[1]
    return flag === undefined || known.has(flag) ? [] : [`agentbus ${command.name} ${flag}: no such option`]
  })
}
