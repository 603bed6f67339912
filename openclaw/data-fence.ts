import { createHash } from 'node:crypto'

/**
 * Characters that JSON leaves as they are but that a reader may take for a line break, or that reorder or hide text.
 * Written as escapes they mean the same to a JSON parser and can deceive nobody.
 */
const DECEPTIVE = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

/** JSON with sorted keys: equal values give equal text. Every line break in it is layout, never content. */
export function sortedJson(value: unknown, layout: 'indented' | 'compact'): string {
  const text = JSON.stringify(value, sortKeys, layout === 'indented' ? 2 : undefined)
  return text.replace(DECEPTIVE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function sortKeys(_key: string, item: unknown): unknown {
  if (item === null || typeof item !== 'object' || Array.isArray(item)) return item
  return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
}

/** A line that does not occur in `data`, the same for the same data and salt: no text can close its own fence. */
export function fenceFor(data: string, salt: string): string {
  let fence = ''
  for (let round = 0; fence === '' || data.includes(fence); round += 1) {
    fence = `DATA-${createHash('sha256').update(`${salt}\n${round}\n`).update(data).digest('hex').slice(0, 16)}`
  }
  return fence
}
