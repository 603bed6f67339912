import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { HookClient, type HookPost } from '../../openclaw/hook-client.js'
import { renderHookBodies, type HookBodies } from '../../openclaw/render-hook.js'
import { createSimulator, type Simulator, type SimulatorOptions } from '../../openclaw/simulator/simulator.js'

export const TOKEN = 'hook-token-for-tests-0123456789'

export async function aSimulator(options: Partial<SimulatorOptions> = {}): Promise<Simulator> {
  const simulator = createSimulator({ hookToken: TOKEN, agents: ['devops', 'auditor'], behave: async () => ({ status: 'ok' }), ...options })
  await simulator.start()
  onTestFinished(() => simulator.stop({ drain: false }))
  return simulator
}

export function aClient(): HookClient {
  const client = new HookClient()
  onTestFinished(() => client.close())
  return client
}

export function bodies(overrides: Partial<Parameters<typeof renderHookBodies>[0]> = {}): HookBodies {
  return renderHookBodies({ message: 'do it', gatewayAgentId: 'devops', name: 'agentbus test', timeoutSeconds: 60, ...overrides })
}

export function aPost(baseUrl: string, overrides: Partial<HookPost> = {}): HookPost {
  return {
    gateway: { baseUrl, hookPath: '/hooks' },
    token: TOKEN,
    body: bodies().admit,
    idempotencyKey: 'attempt-1',
    deadlineMs: 20_000,
    signal: new AbortController().signal,
    ...overrides,
  }
}

/** An HTTP server that answers whatever a test wants it to. */
export async function anHttpServer(listener: RequestListener): Promise<string> {
  return listen(createServer(listener))
}

/** A server below HTTP, for answers that no HTTP library would send. `onBytes` is called once, with the first bytes of a request. */
export async function aTcpServer(onBytes: (socket: Socket) => void): Promise<string> {
  return listen(createTcpServer((socket) => socket.on('error', () => undefined).once('data', () => onBytes(socket))))
}

async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A port on which nothing listens. */
export async function aClosedPort(): Promise<string> {
  const server = createTcpServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return `http://127.0.0.1:${port}`
}

/** A promise that a test resolves when it likes. */
export function gate<T = void>(): { readonly passed: Promise<T>; readonly open: (value: T) => void } {
  let open: (value: T) => void = () => undefined
  const passed = new Promise<T>((resolve) => {
    open = resolve
  })
  return { passed, open }
}
