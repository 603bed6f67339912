/**
 * Every error agentbus raises, by stable code. docs/errors.md lists the same codes; a test compares both.
 * `status` is the HTTP status; `kept` and `next` tell the caller what was kept and what to do.
 */
export const ERRORS = {
  AGENTBUS_BAD_REQUEST: { status: 400, title: 'The request is not valid', next: 'Correct the fields named in `errors` and send it again; nothing was changed.' },
  AGENTBUS_UNSTORABLE_TEXT: { status: 400, title: 'The text cannot be stored', next: 'Remove U+0000 and lone surrogates and send it again; nothing was changed.' },
  AGENTBUS_UNAUTHORIZED: {
    status: 401,
    title: 'A valid bearer token is needed',
    next: 'Send `Authorization: Bearer <token>`; an operator makes one with `agentbus token create`.',
  },
  AGENTBUS_FORBIDDEN: { status: 403, title: 'This token may not do that', next: 'Use a token whose role allows it, or ask an operator.' },
  AGENTBUS_DELEGATION_REFUSED: {
    status: 403,
    title: 'This agent may not send that work there',
    next: 'Send it to an agent that the rule in the message names, or ask the coordinator; nothing was changed.',
  },
  AGENTBUS_NOT_FOUND: { status: 404, title: 'Nothing has that id', next: 'Check the id; lists show what exists.' },
  AGENTBUS_JOB_NOT_FOUND: { status: 404, title: 'No job has that id', next: 'Check the id with `agentbus jobs`.' },
  AGENTBUS_UNKNOWN_AGENT: { status: 422, title: 'No agent has that id', next: 'Add the agent to fleet.yaml and run `agentbus apply`, or correct the id.' },
  AGENTBUS_NO_ABLE_AGENT: {
    status: 422,
    title: 'No agent can do that',
    next: 'Give an agent these capabilities in fleet.yaml and run `agentbus apply`, or name other capabilities; nothing was changed.',
  },
  AGENTBUS_SUBSCRIPTION_NOT_FOUND: { status: 404, title: 'No subscription has that name', next: 'List them with `agentbus subscriptions`.' },
  AGENTBUS_APPROVAL_NOT_FOUND: { status: 404, title: 'No approval has that id', next: 'List what waits with `agentbus approvals`.' },
  AGENTBUS_APPROVAL_DECIDED: { status: 409, title: 'The approval is decided already', next: 'Read it: the first decision stands. This one changed nothing.' },
  AGENTBUS_ALERT_NOT_FOUND: {
    status: 404,
    title: 'No alert, alert rule or silence has that name or id',
    next: 'List them with `agentbus alerts` and `agentbus alert-silences`; rules stand in the fleet file.',
  },
  AGENTBUS_ALERT_OVER: { status: 409, title: 'The alert is over or acknowledged already', next: 'Read it with `agentbus alert`; nothing was changed.' },
  AGENTBUS_REVIEW_OVER: { status: 409, title: 'It is decided already', next: 'Read it; nothing was changed.' },
  AGENTBUS_MEMORY_EXISTS: { status: 409, title: 'A memory with that key is in force', next: 'Name it in supersedes_memory_id, or leave the key out; nothing was changed.' },
  AGENTBUS_WORKFLOW_NOT_FOUND: { status: 404, title: 'No workflow or run has that name or id', next: 'List them with `agentbus workflows` and `agentbus workflow-runs`.' },
  AGENTBUS_WORKFLOW_OVER: { status: 409, title: 'The workflow run is over', next: 'Read it; start another run if the work is still wanted.' },
  AGENTBUS_AGENT_EXISTS: { status: 409, title: 'The agent changed in the meantime', next: 'Read it again and repeat the change on the newest version.' },
  AGENTBUS_METHOD_NOT_ALLOWED: { status: 405, title: 'This path does not take that method', next: 'Use a method named in the Allow header.' },
  AGENTBUS_ILLEGAL_TRANSITION: { status: 409, title: 'The job cannot move there from its state', next: 'Read the job; its state has changed since you looked.' },
  AGENTBUS_ALREADY_CLOSED: { status: 409, title: 'The attempt is closed already', next: 'Stop working on it: another answer was recorded first. This one is kept in the history.' },
  AGENTBUS_STALE_ATTEMPT: {
    status: 409,
    title: 'This attempt no longer holds the job',
    next: 'Stop working on it: a newer attempt owns the job. This answer is kept in the history and changed nothing.',
  },
  AGENTBUS_LEASE_EXPIRED: { status: 409, title: 'The lease of this attempt has run out', next: 'Stop working on it: the job was or will be given to another attempt.' },
  AGENTBUS_BACKUP: { status: 422, title: 'The backup cannot be used', next: 'Take another backup, or name the right folder; nothing was changed.' },
  AGENTBUS_NOT_EMPTY: { status: 409, title: 'There is something in the database', next: 'Name an empty database in DATABASE_URL, or say --replace if what is there may go.' },
  AGENTBUS_IN_USE: { status: 409, title: 'The ledger is in use', next: 'Stop every agentbus process of this ledger, then run it again.' },
  AGENTBUS_IDEMPOTENCY_MISMATCH: { status: 422, title: 'The Idempotency-Key was used with another request', next: 'Use a new key for a new request; the first one stands.' },
  AGENTBUS_VERSION_MISMATCH: { status: 412, title: 'It has changed since the version in If-Match', next: 'Read it again and repeat the change on the newest version.' },
  AGENTBUS_DEPENDENCY_CYCLE: {
    status: 422,
    title: 'The dependencies form a cycle',
    next: 'Remove one of the named dependencies, or wait for something else; nothing was changed.',
  },
  AGENTBUS_UNKNOWN_DEPENDENCY: { status: 422, title: 'A job it depends on does not exist', next: 'Create that job first, in the same namespace.' },
  AGENTBUS_TOKEN_SHOWN: { status: 409, title: 'The token was shown already', next: 'If its answer was lost, revoke it and make another with a new Idempotency-Key.' },
  AGENTBUS_CONTROL_CONFLICT: {
    status: 409,
    title: 'Another control is in force there',
    next: 'Read it with `agentbus controls`; resume it first, or send this one with `replace`. Nothing was changed.',
  },
  AGENTBUS_FROZEN: {
    status: 409,
    title: 'Promotions or conversions are frozen',
    next: 'Wait until an operator has unfrozen them (`agentbus controls` says who froze them and why); nothing was changed.',
  },
  AGENTBUS_LIMIT_REACHED: {
    status: 429,
    title: 'A limit on work is reached',
    next: 'Send the same request again as late as Retry-After says; nothing was changed. The problem names the limit, which stands in `limits` of fleet.yaml.',
  },
  AGENTBUS_NOT_A_SLOT: { status: 409, title: 'The job is not the run of a standing order', next: 'Close it with complete, block or fail.' },
  AGENTBUS_ORDER_NOT_FOUND: { status: 404, title: 'No standing order has that name', next: 'List them with `agentbus standing-orders`; the name is agent/name.' },
  AGENTBUS_NO_COORDINATOR: {
    status: 422,
    title: 'Nobody is named who could be told',
    next: 'Name an inbox with `to`, or set `inbox.coordinator` in fleet.yaml and run `agentbus apply`.',
  },
  AGENTBUS_NOT_YOUR_MESSAGE: {
    status: 409,
    title: 'Another reader holds the message, or it is over',
    next: 'Act only on what your own read gave you; read the inbox again to get what is free.',
  },
  AGENTBUS_PRUNED: {
    status: 410,
    title: 'It was kept for as long as the retention says',
    next: 'Its hash and size stay in the ledger; a backup from before that day has the words.',
  },
  AGENTBUS_TOO_LARGE: { status: 413, title: 'The request body is too large', next: 'Send at most 256 KiB, a fleet at most 16 MiB; put large material elsewhere and reference it.' },
  AGENTBUS_UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The body is not JSON', next: 'Send `Content-Type: application/json`.' },
  AGENTBUS_TOO_MANY_REQUESTS: { status: 429, title: 'Too many wrong tokens from this address, or too many waits of this token', next: 'Wait as long as Retry-After says.' },
  AGENTBUS_BOARD_REFUSED: { status: 405, title: 'The board may not do that', next: 'It would change a queue without the ledger. Use the API or the CLI.' },
  AGENTBUS_INTERNAL: { status: 500, title: 'agentbus failed', next: 'Look up the request id in the log; what was acknowledged before is kept.' },
  AGENTBUS_UNAVAILABLE: { status: 503, title: 'The ledger cannot be reached', next: 'Send the same request again with the same Idempotency-Key; nothing was acknowledged.' },
  AGENTBUS_CONFIG: { status: 500, title: 'A setting is not valid', next: 'Correct the settings named and start again.' },
  AGENTBUS_STORE_UNREACHABLE: { status: 500, title: 'A store cannot be reached', next: 'Check that the server runs and that its URL is right.' },
  AGENTBUS_STORE_UNFIT: { status: 500, title: 'A store is not fit for use', next: 'Change the server or the settings as the message says.' },
  AGENTBUS_DATA_IN_USE: { status: 500, title: 'The data folder is in use', next: 'Stop the other agentbus, or set AGENTBUS_DATA_DIR to another folder.' },
} as const satisfies Record<string, { status: number; title: string; next: string }>

export type ErrorCode = keyof typeof ERRORS

/** The one error class: a code from {@link ERRORS}, a sentence, and fields that are safe to show and to log. */
export class AgentbusError extends Error {
  readonly code: ErrorCode
  readonly fields: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, detail: string, fields: Record<string, unknown> = {}, options?: { cause?: unknown }) {
    super(detail, options)
    this.name = 'AgentbusError'
    this.code = code
    this.fields = fields
  }

  get status(): number {
    return ERRORS[this.code].status
  }

  get next(): string {
    return ERRORS[this.code].next
  }
}

/** True when `error` is an {@link AgentbusError} with that code. */
export function isCode(error: unknown, code: ErrorCode): error is AgentbusError {
  return error instanceof AgentbusError && error.code === code
}

/** Ends a switch over a union; reaching it is a programming error. */
export function assertNever(value: never): never {
  throw new Error(`unreachable: ${String(value)}`)
}

/** A one-line message of anything thrown, for logs and CLI output. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0])
  // Drizzle puts the statement and its parameters into its message: payloads have no place in a log.
  if (error instanceof Error && error.message.startsWith('Failed query:')) return messageOf(error.cause ?? 'a query failed')
  if (error instanceof Error) return error.message || error.name
  return String(error)
}
