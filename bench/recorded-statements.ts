import pg from 'pg'

/** A statement as it was sent. */
export interface Sent {
  readonly text: string
  readonly values: readonly unknown[]
}

type Query = (this: pg.Client, ...args: unknown[]) => unknown

/** Writes down what clients of this process send while `work` runs, so that its plans can be looked at afterwards. */
export async function statementsOf(work: () => Promise<unknown>): Promise<readonly Sent[]> {
  const sent: Sent[] = []
  const prototype = pg.Client.prototype as unknown as { query: Query }
  const send = prototype.query
  prototype.query = function (...args) {
    const [what, values] = args as [string | { readonly text?: string; readonly values?: readonly unknown[] }, readonly unknown[] | undefined]
    const text = typeof what === 'string' ? what : what.text
    if (text !== undefined) sent.push({ text, values: (typeof what === 'string' ? undefined : what.values) ?? (Array.isArray(values) ? values : []) })
    return send.apply(this, args)
  }
  try {
    await work()
  } finally {
    prototype.query = send
  }
  return sent
}

/** The plan of each of them that reads, with times and buffers; what it read is thrown away. */
export async function plansOf(client: pg.Client, statements: readonly Sent[]): Promise<readonly string[]> {
  const plans: string[] = []
  for (const { text, values } of statements) {
    if (!/^\s*(select|with)\b/i.test(text)) continue
    const { rows } = await client.query<Record<string, string>>(`explain (analyze, buffers) ${text.replace(/;\s*$/, '')}`, [...values])
    plans.push(rows.map((row) => row['QUERY PLAN']).join('\n'))
  }
  return plans
}
