import type pg from 'pg'

/**
 * Longer than any statement may run (`statement_timeout`): PostgreSQL then says something, if only that it has ended the
 * statement. A connection that is silent for longer while something is asked on it leads nowhere.
 */
export const SILENCE_MS = 35_000

/** Ends a connection that leads nowhere; whoever waits on it is told why. */
export function breakOff(client: pg.ClientBase, why: string): void {
  const { stream } = (client as unknown as { connection: { stream: { destroy(error: Error): void } } }).connection
  stream.destroy(new Error(`server closed the connection: ${why}`))
}

/**
 * Ends a connection on which nothing has come for `limitMs` while an answer is due: PostgreSQL is stopped, or the network
 * swallows what is sent. No error would ever come; TCP itself gives up after a quarter of an hour.
 */
export function endWhenSilent(client: pg.ClientBase, limitMs: number): void {
  const { stream } = (client as unknown as { connection: { stream: NodeJS.ReadableStream } }).connection
  let due = 0
  let heardMs = 0
  let timer: NodeJS.Timeout | undefined
  stream.on('data', () => {
    heardMs = performance.now()
  })
  stream.on('close', () => clearTimeout(timer))
  const look = (): void => {
    timer = undefined
    if (due === 0) return
    const leftMs = heardMs + limitMs - performance.now()
    if (leftMs > 0) wait(leftMs)
    else breakOff(client, `it was silent for ${limitMs / 1_000} s`)
  }
  const wait = (ms: number): void => {
    timer = setTimeout(look, ms)
    timer.unref()
  }
  const begin = (): void => {
    if (due === 0) heardMs = performance.now()
    due += 1
    if (timer === undefined) wait(limitMs)
  }
  const settled = (): void => {
    due -= 1
  }
  const query = client.query.bind(client) as (...args: unknown[]) => unknown
  const watched = (...args: unknown[]): unknown => {
    // A pool asks with a callback, everybody else by a promise.
    const callback = args.at(-1)
    if (typeof callback === 'function') {
      begin()
      return query(...args.slice(0, -1), (...result: unknown[]) => {
        settled()
        ;(callback as (...result: unknown[]) => void)(...result)
      })
    }
    const answer = query(...args)
    if (!(answer instanceof Promise)) return answer
    begin()
    answer.then(settled, settled)
    return answer
  }
  client.query = watched as typeof client.query
}
