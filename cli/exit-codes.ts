/** What the exit code of a client command means. Scripts and agents act on it; docs/cli.md lists the same. */
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
} as const

/** The exit code for an HTTP status. */
export function exitCodeOf(status: number): number {
  if (status < 400) return EXIT.ok
  if (status === 404) return EXIT.notFound
  if (status === 401 || status === 403) return EXIT.refused
  if (status === 409 || status === 412) return EXIT.conflict
  if (status === 429) return EXIT.throttled
  if (status === 503) return EXIT.unavailable
  if (status >= 500) return EXIT.unexpected
  return EXIT.usage
}
