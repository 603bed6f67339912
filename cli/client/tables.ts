import { oneLine, printable } from '../printable.js'
import type { Json } from './json.js'

/** A value as one piece of text. */
export function text(value: unknown): string {
  if (value === null || value === undefined) return '-'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly Json[], columns: readonly string[]): string {
  if (rows.length === 0) return 'nothing\n'
  const cells = rows.map((row) => columns.map((column) => oneLine(text(row[column]), 70)))
  const widths = columns.map((column, at) => Math.max(column.length, ...cells.map((row) => row[at]?.length ?? 0)))
  const line = (row: readonly string[]): string => {
    const padded = row.map((cell, at) => cell.padEnd(widths[at] ?? 0))
    return padded.join('  ').trimEnd()
  }
  return `${[line(columns), ...cells.map(line)].join('\n')}\n`
}

/** One field per line; what is absent is left out. */
export function fields(body: Json, names: readonly string[]): string {
  const present = names.filter((name) => body[name] !== null && body[name] !== undefined)
  const width = Math.max(...present.map((name) => name.length), 0)
  return `${present.map((name) => `${name.padEnd(width)}  ${oneLine(text(body[name]), 500)}`).join('\n')}\n`
}

/** A page of a list, and how to get the next one if there is any. */
export function page(body: Json, shown: string): string {
  return typeof body['next_cursor'] === 'string' ? `${shown}more: --cursor ${oneLine(body['next_cursor'])}\n` : shown
}

/** Text of several lines, whole, and set in so that no line of it can pass for one of ours. */
export function indented(lines: string): string {
  return printable(lines).replace(/^/gm, '    ')
}
