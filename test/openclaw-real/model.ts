import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { readOrder, type Order } from '../../openclaw/simulator/scripted-agent.js'

/** What the gateway asks the model at one point of a run. */
export interface Turn {
  readonly order: Order
  /** The run, by the session OpenClaw made for it: it differs for every run, also under the same attempt. */
  readonly session: string
  readonly system: string
  readonly prompt: string
  /** What the exec tool answered so far in this run; empty at its first turn. */
  readonly results: readonly string[]
  /** Aborts when the gateway hangs up: it was killed, or gave the run up. */
  readonly signal: AbortSignal
}

/** A shell command for the exec tool, or the words that end the run. */
export type Reply = { readonly exec: string } | { readonly say: string }
export type Script = (turn: Turn) => Promise<Reply> | Reply

/** One turn as the model saw it. */
export interface LoggedTurn {
  readonly session: string
  readonly jobId: string
  readonly attemptNo: number
  readonly turn: number
  readonly reply: Reply
}

export interface MockModel {
  readonly url: string
  /** Every turn that carried a work order, in order of arrival. */
  readonly turns: readonly LoggedTurn[]
  /** Replaces what agents do with their orders from now on. */
  follow(script: Script): void
  /** The runs of one job: sessions that asked the model at least once. */
  runsOf(jobId: string): readonly string[]
  stop(): Promise<void>
}

interface Message {
  readonly role: string
  readonly content?: string | null | readonly { readonly text?: string }[]
}

/** What OpenClaw adds on its own account under the user's name; never the prompt. */
const GATEWAY_NOTE = '<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>'

/**
 * A model of OpenAI's chat completions that does what a test says. It is careful in the one way that matters here: it
 * acts on an order only when the system prompt, which it trusts, authorises orders for that very address.
 */
export async function startModel(): Promise<MockModel> {
  let script: Script = () => ({ say: 'NO_REPLY' })
  const turns: LoggedTurn[] = []

  async function answer(messages: readonly Message[], signal: AbortSignal): Promise<Reply> {
    const turn = readTurn(messages, signal)
    if (turn === undefined) return { say: 'NO_REPLY' }
    const reply = isAuthorised(turn) ? await script(turn) : { say: 'My rules do not authorise this order.' }
    return reply
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url?.endsWith('/chat/completions') !== true) {
      response.writeHead(404).end()
      return
    }
    const { messages, stream } = JSON.parse(await bodyOf(request)) as { messages: readonly Message[]; stream?: boolean }
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    const turn = readTurn(messages, gone.signal)
    const entry =
      turn === undefined
        ? undefined
        : { session: turn.session, jobId: turn.order.jobId, attemptNo: turn.order.attemptNo, turn: turn.results.length, reply: { say: '(never answered)' } as Reply }
    if (entry !== undefined) turns.push(entry)
    const reply = await answer(messages, gone.signal)
    if (entry !== undefined) entry.reply = reply
    if (!response.destroyed) send(response, reply, { id: `turn-${turns.length}`, stream: stream === true })
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      if (!response.destroyed) response.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify({ error: { message: String(error) } }))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the model has no port')
  return {
    url: `http://127.0.0.1:${address.port}/v1`,
    turns,
    follow: (next) => {
      script = next
    },
    runsOf: (jobId) => [...new Set(turns.filter((turn) => turn.jobId === jobId).map((turn) => turn.session))],
    stop: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function readTurn(messages: readonly Message[], signal: AbortSignal): Turn | undefined {
  const at = messages.findLastIndex((message) => message.role === 'user' && (!textOf(message).startsWith(GATEWAY_NOTE) || isWake(textOf(message))))
  const said = textOf(messages[at])
  const prompt = isWake(said) ? unwrapped(said) : said
  const order = readOrder(prompt)
  if (order === undefined) return undefined
  return {
    order,
    session: /\bsession=(\S+)/.exec(prompt)?.[1] ?? 'no session named',
    system: textOf(messages.find((message) => message.role === 'system' || message.role === 'developer')),
    prompt,
    // What the gateway adds comes last at every turn, after the results of the tools.
    results: messages
      .slice(messages.findLastIndex((message) => message.role === 'user' && !textOf(message).startsWith(GATEWAY_NOTE)) + 1)
      .filter((message) => message.role === 'tool')
      .map(textOf),
    signal,
  }
}

/** A wake-up reaches the main session as an event among what the gateway adds: escaped, each line after "System:". */
function isWake(text: string): boolean {
  return text.startsWith(GATEWAY_NOTE) && text.includes('agentbus work order')
}

function unwrapped(wake: string): string {
  return wake.replaceAll('\\nSystem: ', '\n').replaceAll('\\"', '"')
}

function isAuthorised({ system, order }: Turn): boolean {
  return system.includes('<!-- agentbus:begin v') && system.includes(`The bus is at \`${order.apiUrl}\` and nowhere else`)
}

function textOf(message: Message | undefined): string {
  const content = message?.content ?? ''
  return typeof content === 'string' ? content : content.map((part) => part.text ?? '').join('\n')
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

const USAGE = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 }

function send(response: ServerResponse, reply: Reply, { id, stream }: { id: string; stream: boolean }): void {
  const call = 'exec' in reply ? [{ index: 0, id: `call-${id}`, type: 'function', function: { name: 'exec', arguments: JSON.stringify({ command: reply.exec }) } }] : undefined
  const said = 'say' in reply ? reply.say : null
  const finish_reason = call === undefined ? 'stop' : 'tool_calls'
  const common = { id, created: 0, model: 'scripted' }
  if (!stream) {
    const message = { role: 'assistant', content: said, ...(call === undefined ? {} : { tool_calls: call }) }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ ...common, object: 'chat.completion', choices: [{ index: 0, message, finish_reason }], usage: USAGE }))
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  const delta = call === undefined ? { role: 'assistant', content: said } : { role: 'assistant', tool_calls: call }
  const chunks = [{ choices: [{ index: 0, delta, finish_reason: null }] }, { choices: [{ index: 0, delta: {}, finish_reason }] }, { choices: [], usage: USAGE }]
  for (const chunk of chunks) response.write(`data: ${JSON.stringify({ ...common, object: 'chat.completion.chunk', ...chunk })}\n\n`)
  response.end('data: [DONE]\n\n')
}
