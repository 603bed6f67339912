/** What the exit code of a command means. Scripts and agents act on it; docs/cli.md lists the same. */
export const EXIT = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  /** The attempt no longer holds the job: stop working on it. */
  conflict: 5,
  unavailable: 6,
  throttled: 7,
  /** `agentbus verify` found that a rule does not hold. */
  violated: 8,
  /** `agentbus verify` could not check what it was asked to. */
  unchecked: 9,
} as const

type Exit = keyof typeof EXIT

/** The same table in words; `agentbus --help` and the documentation are made from it. */
export const EXIT_MEANINGS: Readonly<Record<Exit, string>> = {
  ok: 'done',
  unexpected: 'failed in a way that has no code of its own',
  usage: 'the command or its input is wrong (HTTP 400, 405, 413, 415, 422); correct it',
  notFound: 'nothing has that id (404), or it is kept no longer (410)',
  refused: 'no token, or one that may not do this (401, 403)',
  conflict: 'the state has changed (409, 412); an attempt that gets this stops working on its job',
  unavailable: 'agentbus cannot be reached or gave no answer (502, 503, 504, timeout); run it again, a write with the idempotency key that was shown',
  throttled: 'a limit on work is reached, or too many wrong tokens from this address or waits of this token (429); wait',
  violated: 'agentbus verify found a violation and has named it',
  unchecked: 'agentbus verify found none, but could not check everything it was asked to',
}

/** The exit code for an HTTP status. */
export function exitCodeOf(status: number): number {
  if (status < 300) return EXIT.ok
  if (status < 400) return EXIT.unexpected
  if (status === 404 || status === 410) return EXIT.notFound
  if (status === 401 || status === 403) return EXIT.refused
  if (status === 408) return EXIT.unavailable
  if (status === 409 || status === 412) return EXIT.conflict
  if (status === 429) return EXIT.throttled
  if (status >= 502 && status <= 504) return EXIT.unavailable
  if (status >= 500) return EXIT.unexpected
  return EXIT.usage
}

/** Each exit code with its meaning, in the order of the codes. */
export function exitCodeMeanings(): { readonly code: number; readonly meaning: string }[] {
  return (Object.keys(EXIT) as Exit[]).map((name) => ({ code: EXIT[name], meaning: EXIT_MEANINGS[name] }))
}

/** The table as `agentbus --help` shows it. */
export function exitCodeHelp(): string {
  return `\nExit codes:\n${exitCodeMeanings()
    .map(({ code, meaning }) => `  ${code}  ${meaning}`)
    .join('\n')}\n`
}
