import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ERRORS, type ErrorCode } from '../../contracts/errors.js'
import { runCli } from '../../cli/run.js'

export interface SeenRequest {
  readonly method: string
  /** With the query. */
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
}

/** What the stand-in does with one request. */
export type Reply = { readonly status: number; readonly body: unknown; readonly type?: string; readonly headers?: Record<string, string> } | 'hang up' | 'stay silent'

/** STAND-IN for the API: it records what it is sent and answers from a script. The real API is met in test/api and test/process. */
export class StandInApi {
  readonly seen: SeenRequest[] = []
  readonly #script: Reply[] = []
  readonly #server: Server
  #otherwise: Reply = { status: 200, body: {} }

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** The next answers, in order. */
  answers(...replies: readonly Reply[]): void {
    this.#script.push(...replies)
  }

  /** The answer to everything the script does not cover. */
  always(reply: Reply): void {
    this.#otherwise = reply
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(Buffer.from(chunk as Buffer))
    const text = Buffer.concat(chunks).toString('utf8')
    this.seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers, body: text === '' ? undefined : (JSON.parse(text) as unknown) })
    const reply = this.#script.shift() ?? this.#otherwise
    if (reply === 'stay silent') return
    if (reply === 'hang up') {
      request.socket.destroy()
      return
    }
    response.writeHead(reply.status, { 'content-type': reply.type ?? 'application/json', ...reply.headers })
    response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body))
  }
}

/** A problem document as the API sends it. */
export function problem(code: ErrorCode, detail: string = ERRORS[code].title): Reply {
  const { status, title, next } = ERRORS[code]
  return { status, type: 'application/problem+json', body: { type: `/v1/errors#${code}`, title, status, detail, code, instance: 'req-1', next } }
}

export const TOKEN = 'abt_0123456789abcdefghijklmnopqrstuvwxyz-_ABCDE'

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly stdin?: string
  readonly cwd?: string
}

/** Runs one command line in process. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const out = { stdout: '', stderr: '' }
  const code = await runCli(argv, {
    env: options.env ?? {},
    stdin: (async function* () {
      yield options.stdin ?? ''
    })(),
    stdout: { write: (text) => (out.stdout += text) },
    stderr: { write: (text) => (out.stderr += text) },
    cwd: options.cwd ?? process.cwd(),
  })
  return { code, ...out }
}
