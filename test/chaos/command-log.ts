import { request } from 'undici'

/** What somebody asked of the bus, with every try under one Idempotency-Key, as the asker knows it. */
export interface Command {
  /** Who asked: a client, or an agent by its attempt. */
  readonly actor: string
  readonly kind: 'create' | 'emit' | 'start_workflow' | 'cancel' | 'complete' | 'block' | 'fail' | 'finish'
  readonly key: string
  /** What it is called in payloads and correlation keys. */
  readonly marker: string
  readonly body: Readonly<Record<string, unknown>>
  readonly firstSentMs: number
  tries: number
  outcome: 'open' | 'acknowledged' | 'refused'
  answeredMs?: number
  /** Of the acknowledged answer. */
  id?: string
  /** Of the refusal. */
  code?: string
  /** Of an agent's command. */
  readonly jobId?: string
  readonly attemptId?: string
  readonly attemptNo?: number
}

/** A request that the API could not serve, and what it said about that. */
export interface Failure {
  readonly request: string
  readonly status: number
  /** Of its problem document; undefined when there was none. */
  readonly code: string | undefined
  /** By which the API's own log is searched. */
  readonly requestId: string
  readonly atMs: number
}

/** The askers' own log: what they have sent and what they were told. The ledger never writes here. */
export class CommandLog {
  readonly commands: Command[] = []
  /** Answers 5xx and 429, to commands and to reads. */
  readonly failures: Failure[] = []
  /** When a try was given up without any answer, milliseconds since 1970. */
  readonly silences: number[] = []

  begin(command: Omit<Command, 'tries' | 'outcome' | 'firstSentMs'>): Command {
    const begun: Command = { ...command, firstSentMs: Date.now(), tries: 0, outcome: 'open' }
    this.commands.push(begun)
    return begun
  }
}

export interface Wire {
  readonly url: string
  readonly token: string
  /** Milliseconds without an answer after which a try counts as lost. */
  readonly patienceMs: number
  readonly log: CommandLog
}

/** One request. @returns undefined when nobody can say what became of it: no answer, or 5xx, or 429 */
export async function once(
  wire: Wire,
  method: 'GET' | 'POST',
  path: string,
  options: { readonly body?: unknown; readonly key?: string; readonly signal?: AbortSignal } = {},
): Promise<{ readonly status: number; readonly body: Record<string, unknown> } | undefined> {
  const patience = AbortSignal.timeout(wire.patienceMs)
  try {
    const answer = await request(`${wire.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${wire.token}`,
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(options.key === undefined ? {} : { 'idempotency-key': options.key }),
      },
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal === undefined ? patience : AbortSignal.any([patience, options.signal]),
    })
    const text = await answer.body.text()
    if (answer.statusCode >= 500 || answer.statusCode === 429) {
      wire.log.failures.push({
        request: `${method} ${path}`,
        status: answer.statusCode,
        code: codeOf(text),
        requestId: String(answer.headers['x-request-id'] ?? ''),
        atMs: Date.now(),
      })
      return undefined
    }
    return { status: answer.statusCode, body: JSON.parse(text) as Record<string, unknown> }
  } catch {
    if (options.signal?.aborted !== true) wire.log.silences.push(Date.now())
    return undefined
  }
}

/** Sends the command again and again under its key until somebody has answered it, or `goesOn` says no. */
export async function insist(
  wire: Wire,
  path: string,
  command: Command,
  options: { readonly goesOn: () => boolean; readonly pause: (ms: number) => Promise<unknown>; readonly signal?: AbortSignal },
): Promise<Record<string, unknown> | undefined> {
  while (options.goesOn()) {
    command.tries += 1
    const answer = await once(wire, 'POST', path, { body: command.body, key: command.key, ...(options.signal === undefined ? {} : { signal: options.signal }) })
    if (answer !== undefined) {
      command.answeredMs = Date.now()
      const isGranted = answer.status < 300
      command.outcome = isGranted ? 'acknowledged' : 'refused'
      const { id, code } = answer.body
      if (isGranted && id !== undefined) command.id = String(id)
      if (!isGranted) command.code = typeof code === 'string' ? code : `HTTP ${answer.status}`
      return isGranted ? answer.body : undefined
    }
    await options.pause(150)
  }
  return undefined
}

function codeOf(text: string): string | undefined {
  try {
    const { code } = JSON.parse(text) as { code?: unknown }
    return typeof code === 'string' ? code : undefined
  } catch {
    return undefined
  }
}
