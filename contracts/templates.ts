import { valueAt } from './filters.js'

const PLACE = /\{\{\s*([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*\}\}/g
const ONE_PLACE = /^\{\{\s*([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*\}\}$/

/**
 * Fills the `{{dotted.path}}` of every text in `template` from `data`. A text that is one place and nothing else becomes
 * the value itself, with its type; within a longer text objects are written as JSON. What is missing is null, or nothing.
 * Values are put in, never read as templates.
 */
export function fill(template: unknown, data: unknown): unknown {
  if (typeof template === 'string') {
    const whole = ONE_PLACE.exec(template)?.[1]
    return whole === undefined ? fillText(template, data) : (valueAt(data, whole) ?? null)
  }
  if (Array.isArray(template)) return template.map((item) => fill(item, data))
  if (template === null || typeof template !== 'object') return template
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, fill(value, data)]))
}

/** The same for one text, which stays a text. */
export function fillText(template: string, data: unknown): string {
  return template.replace(PLACE, (_place, path: string) => {
    const value = valueAt(data, path) ?? ''
    return typeof value === 'string' ? value : JSON.stringify(value)
  })
}

/** Every path that a template names. */
export function pathsOf(template: unknown): string[] {
  if (typeof template === 'string') return [...template.matchAll(PLACE)].map(([, path]) => path ?? '')
  if (template === null || typeof template !== 'object') return []
  return Object.values(template).flatMap(pathsOf)
}
