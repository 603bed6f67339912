import { open } from 'node:fs/promises'
import { isAlias, isCollection, isMap, isNode, isScalar, LineCounter, parseDocument, type Document } from 'yaml'
import type { z } from 'zod'
import { AgentbusError, messageOf } from '../contracts/errors.js'
import { FleetFile } from '../contracts/fleet.js'
import { SetStandingOrderBody } from '../contracts/standing-orders.js'
import { SubscriptionConfig, type SetSubscriptionBody } from '../contracts/subscriptions.js'
import { faultOfShape } from '../contracts/text.js'
import { WorkflowDefinition } from '../contracts/workflows.js'
import { LEASE_FAULT, outlivesWorker, type EntryOfTheDead } from './lease-rule.js'
import { faultsOfSchedules } from './schedule.js'

/** Room for 10,000 gateways and 10,000 agents with comments. */
export const MAX_FLEET_BYTES = 8 * 1024 * 1024

export interface FleetFault {
  readonly line: number
  readonly column: number
  readonly fault: string
}

/** What is known beside the file where it is read. */
export interface FleetSetting {
  /** Of the workers that will deliver. Absent: they run elsewhere, and tell by themselves of leases that are too short for it. */
  readonly workers?: EntryOfTheDead | undefined
}

/**
 * The fleet file, parsed and checked.
 *
 * @throws AgentbusError AGENTBUS_CONFIG; its message has one line `path:line:column: fault` per fault, in
 * the order of the file, and `fields.faults` the same in parts.
 */
export async function loadFleetFile(path: string, setting: FleetSetting = {}): Promise<FleetFile> {
  const parsed = parseFleet(await readBounded(path), setting)
  if ('fleet' in parsed) return parsed.fleet
  throw notValid(path, parsed.faults)
}

/** One standing order in a file of its own, parsed and checked likewise. @throws AgentbusError AGENTBUS_CONFIG */
export async function loadOrderFile(path: string): Promise<SetStandingOrderBody> {
  const parsed = parseChecked(await readBounded(path), ORDER)
  if ('value' in parsed) return parsed.value
  throw notValid(path, parsed.faults)
}

/** One subscription in a file of its own; its name may stand there or not. @throws AgentbusError AGENTBUS_CONFIG */
export async function loadSubscriptionFile(path: string): Promise<SetSubscriptionBody & { readonly name?: string | undefined }> {
  const parsed = parseChecked(await readBounded(path), SUBSCRIPTION)
  if ('value' in parsed) return parsed.value
  throw notValid(path, parsed.faults)
}

/** One workflow in a file of its own. @throws AgentbusError AGENTBUS_CONFIG */
export async function loadWorkflowFile(path: string): Promise<WorkflowDefinition> {
  const parsed = parseWorkflow(await readBounded(path))
  if ('workflow' in parsed) return parsed.workflow
  throw notValid(path, parsed.faults)
}

/** Either the workflow or all faults of the text, in its order. */
export function parseWorkflow(text: string): { readonly workflow: WorkflowDefinition } | { readonly faults: readonly FleetFault[] } {
  const parsed = parseChecked(text, WORKFLOW)
  return 'value' in parsed ? { workflow: parsed.value } : parsed
}

/** Either the fleet or all faults of the text, in its order. */
export function parseFleet(text: string, setting: FleetSetting = {}): { readonly fleet: FleetFile } | { readonly faults: readonly FleetFault[] } {
  const parsed = parseChecked(text, fleetIn(setting))
  return 'value' in parsed ? { fleet: parsed.value } : parsed
}

function notValid(path: string, faults: readonly FleetFault[]): AgentbusError {
  const lines = faults.map(({ line, column, fault }) => `${path}:${line}:${column}: ${fault}`)
  return new AgentbusError('AGENTBUS_CONFIG', lines.join('\n'), { path, faults })
}

interface FaultAt {
  readonly path: readonly PropertyKey[]
  readonly fault: string
}

/** What a file holds: its form, what it is called in a fault, and faults that no schema sees. */
interface FileKind<T> {
  readonly schema: z.ZodType<T>
  readonly name: string
  readonly mustBe: string
  readonly more: (value: T) => readonly FaultAt[]
}

function fleetIn({ workers }: FleetSetting): FileKind<FleetFile> {
  return {
    schema: FleetFile,
    name: 'fleet',
    mustBe: 'must be a mapping with `gateways` and `agents`',
    more: (fleet) => [
      ...faultsOfSchedules(fleet.standing_orders).map(({ index, fault }): FaultAt => ({ path: ['standing_orders', index, 'cron'], fault })),
      ...(workers === undefined ? [] : faultsOfLeases(fleet.agents, workers)),
    ],
  }
}

function faultsOfLeases(agents: FleetFile['agents'], workers: EntryOfTheDead): FaultAt[] {
  return agents.flatMap(({ lease_seconds: seconds }, at) => (outlivesWorker(seconds, workers) ? [] : [{ path: ['agents', at, 'lease_seconds'], fault: LEASE_FAULT }]))
}

const ORDER: FileKind<SetStandingOrderBody> = {
  schema: SetStandingOrderBody,
  name: 'order',
  mustBe: 'must be a mapping with `cron` or `every_seconds`, and `message`',
  more: (order) => faultsOfSchedules([order]).map(({ fault }) => ({ path: ['cron'], fault })),
}

const SUBSCRIPTION: FileKind<SetSubscriptionBody & { readonly name?: string | undefined }> = {
  schema: SubscriptionConfig.partial({ name: true }),
  name: 'subscription',
  mustBe: 'must be a mapping with `agent` and `topic`',
  more: () => [],
}

const WORKFLOW: FileKind<WorkflowDefinition> = {
  schema: WorkflowDefinition,
  name: 'workflow',
  mustBe: 'must be a mapping with `name` and `steps`',
  more: () => [],
}

function parseChecked<T>(text: string, kind: FileKind<T>): { readonly value: T } | { readonly faults: readonly FleetFault[] } {
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
  if (!isMap(doc.contents)) return inOrder([at(0, kind.mustBe)])
  let value: unknown
  try {
    value = doc.toJS({ maxAliasCount: 100 })
  } catch (error) {
    return inOrder([at(0, messageOf(error))])
  }
  const shape = faultOfShape(value)
  if (shape !== undefined) return inOrder([at(0, `${kind.name}: ${shape}`)])
  const result = kind.schema.safeParse(value)
  if (result.success) {
    const faults = kind.more(result.data)
    if (faults.length === 0) return { value: result.data }
    return inOrder(faults.map(({ path, fault }) => at(offsetOf(doc, path, { ofKey: false }), `${nameOf(path)}: ${fault}`)))
  }
  return inOrder(result.error.issues.flatMap((issue) => faultsOf(doc, issue, kind.name).map(({ offset, fault }) => at(offset, fault))))
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
function faultsOf(doc: Document.Parsed, issue: z.core.$ZodIssue, whole: string): Located[] {
  const name = nameOf(issue.path)
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ offset: offsetOf(doc, [...issue.path, key], { ofKey: true }), fault: `${name === '' ? '' : `${name}: `}unknown key ${key}` }))
  }
  return [{ offset: offsetOf(doc, issue.path, { ofKey: false }), fault: `${name === '' ? whole : name}: ${issue.message}` }]
}

function nameOf(path: readonly PropertyKey[]): string {
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '')
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
