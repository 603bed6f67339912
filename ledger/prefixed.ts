/** The columns of a joined row whose names start with `prefix`, without it. */
export function prefixed(row: Record<string, unknown>, prefix: string): Record<string, unknown> {
  const picked: Record<string, unknown> = {}
  for (const name in row) if (name.startsWith(prefix)) picked[name.slice(prefix.length)] = row[name]
  return picked
}

/** The columns of a joined row that carry no one-letter prefix. */
export function withoutPrefixed(row: Record<string, unknown>): Record<string, unknown> {
  const picked: Record<string, unknown> = {}
  for (const name in row) if (name[1] !== '_') picked[name] = row[name]
  return picked
}
