import { open } from 'node:fs/promises'
import { isAlias, isCollection, isMap, isNode, isScalar, LineCounter, parseDocument, type Document } from 'yaml'
import type { z } from 'zod'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { FleetFile } from '../contracts/fleet.js'
import { faultsOfSchedules } from './schedule.js'

/** Room for 10,000 gateways and 10,000 agents with comments. */
export const MAX_FLEET_BYTES = 8 * 1024 * 1024

export interface FleetFault {
  readonly line: number
  readonly column: number
  readonly fault: string
}

/**
 * The fleet file, parsed and checked.
 *
 * @throws AgentbusError AGENTBUS_CONFIG; its message has one line `path:line:column: fault` per fault, in
 * the order of the file, and `fields.faults` the same in parts.
 */
export async function loadFleetFile(path: string): Promise<FleetFile> {
  const parsed = parseFleet(await readBounded(path))
  if ('fleet' in parsed) return parsed.fleet
  const lines = parsed.faults.map(({ line, column, fault }) => `${path}:${line}:${column}: ${fault}`)
  throw new AgentbusError('AGENTBUS_CONFIG', lines.join('\n'), { path, faults: parsed.faults })
}

/** Either the fleet or all faults of the text, in its order. */
export function parseFleet(text: string): { readonly fleet: FleetFile } | { readonly faults: readonly FleetFault[] } {
  const lines = new LineCounter()
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, strict: true })
  const at = (offset: number, fault: string): FleetFault & { offset: number } => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1), fault, offset }
  }
  const inOrder = (faults: (FleetFault & { offset: number })[]): { faults: FleetFault[] } => ({
    faults: faults.sort((a, b) => a.offset - b.offset).map(({ line, column, fault }) => ({ line, column, fault })),
  })

  const unreadable = [...doc.errors, ...doc.warnings].map(({ pos, message }) => at(pos[0], message))
  if (unreadable.length > 0) return inOrder(unreadable)
  if (!isMap(doc.contents)) return inOrder([at(0, 'must be a mapping with `gateways` and `agents`')])
  let value: unknown
  try {
    value = doc.toJS({ maxAliasCount: 100 })
  } catch (error) {
    return inOrder([at(0, messageOf(error))])
  }
  const result = FleetFile.safeParse(value)
  if (result.success) {
    const faults = faultsOfSchedules(result.data.standing_orders)
    if (faults.length === 0) return { fleet: result.data }
    return inOrder(faults.map(({ index, fault }) => at(offsetOf(doc, ['standing_orders', index, 'cron'], { ofKey: false }), `standing_orders[${index}].cron: ${fault}`)))
  }
  return inOrder(result.error.issues.flatMap((issue) => faultsOf(doc, issue).map(({ offset, fault }) => at(offset, fault))))
}

async function readBounded(path: string): Promise<string> {
  try {
    const file = await open(path, 'r')
    try {
      const stat = await file.stat()
      if (!stat.isFile()) throw new AgentbusError('AGENTBUS_CONFIG', `${path}: is not a file`, { path })
      if (stat.size > MAX_FLEET_BYTES) throw new AgentbusError('AGENTBUS_CONFIG', `${path}: is larger than ${MAX_FLEET_BYTES} bytes`, { path })
      return new TextDecoder('utf-8', { fatal: true }).decode(await file.readFile())
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof AgentbusError) throw error
    throw new AgentbusError('AGENTBUS_CONFIG', `${path}: cannot be read as UTF-8 text (${messageOf(error)})`, { path }, { cause: error })
  }
}

interface Located {
  readonly offset: number
  readonly fault: string
}

/** An issue of zod with the offset of the node it is about; an unknown key is about the key itself. */
function faultsOf(doc: Document.Parsed, issue: z.core.$ZodIssue): Located[] {
  const name = issue.path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '')
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ offset: offsetOf(doc, [...issue.path, key], { ofKey: true }), fault: `${name === '' ? '' : `${name}: `}unknown key ${key}` }))
  }
  return [{ offset: offsetOf(doc, issue.path, { ofKey: false }), fault: `${name === '' ? 'fleet' : name}: ${issue.message}` }]
}

/** Where the value (or its key) at `path` begins; for a key that is missing, where its mapping begins. */
function offsetOf(doc: Document.Parsed, path: readonly PropertyKey[], { ofKey }: { ofKey: boolean }): number {
  let node: unknown = doc.contents
  let offset = 0
  for (const [depth, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(doc)
    if (isNode(node)) offset = node.range?.[0] ?? offset
    if (!isCollection(node)) return offset
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part)) : undefined
    const child = isMap(node) ? pair?.value : node.items[Number(part)]
    if (child === undefined) return offset
    if (ofKey && depth === path.length - 1 && isNode(pair?.key)) return pair.key.range?.[0] ?? offset
    node = child
  }
  return isNode(node) ? (node.range?.[0] ?? offset) : offset
}
