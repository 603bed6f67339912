import { AgentbusError } from './errors.js'
import { valueAt } from './filters.js'
import { JSON_LIMITS } from './text.js'

const PLACE = /\{\{\s*([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*\}\}/g
const ONE_PLACE = /^\{\{\s*([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*\}\}$/

/** Characters that may be put into one template: no JSON object that is stored has room for more. */
const ROOM = JSON_LIMITS.maxBytes

/**
 * Fills the `{{dotted.path}}` of every text in `template` from `data`. A text that is one place and nothing else becomes
 * the value itself, with its type; within a longer text objects are written as JSON. What is missing is null, or nothing.
 * Values are put in, never read as templates.
 * @throws AGENTBUS_BAD_REQUEST when more is put in than could be stored: a template that names a large value a thousand times
 * would take all memory before anybody could look at its size
 */
export function fill(template: unknown, data: unknown): unknown {
  return fillWithin(template, data, { left: ROOM })
}

function fillWithin(template: unknown, data: unknown, room: { left: number }): unknown {
  if (typeof template === 'string') {
    const whole = ONE_PLACE.exec(template)?.[1]
    if (whole === undefined) return template.replace(PLACE, (_place, path: string) => taken(textAt(data, path), room))
    const value = valueAt(data, whole) ?? null
    taken(JSON.stringify(value), room)
    return value
  }
  if (Array.isArray(template)) return template.map((item) => fillWithin(item, data, room))
  if (template === null || typeof template !== 'object') return template
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, fillWithin(value, data, room)]))
}

function taken(text: string, room: { left: number }): string {
  room.left -= text.length
  if (room.left < 0) throw new AgentbusError('AGENTBUS_BAD_REQUEST', `The filled template is too large: more than ${ROOM} characters were put in.`, { most: ROOM })
  return text
}

/** The same for one text, which stays a text and is cut by whoever uses it: once there is no room left, places stay empty. */
export function fillText(template: string, data: unknown): string {
  let left = ROOM
  return template.replace(PLACE, (_place, path: string) => {
    if (left <= 0) return ''
    const text = textAt(data, path)
    left -= text.length
    return text
  })
}

function textAt(data: unknown, path: string): string {
  const value = valueAt(data, path) ?? ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Every path that a template names. */
export function pathsOf(template: unknown): string[] {
  if (typeof template === 'string') return [...template.matchAll(PLACE)].map(([, path]) => path ?? '')
  if (template === null || typeof template !== 'object') return []
  return Object.values(template).flatMap(pathsOf)
}
