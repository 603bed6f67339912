import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Cut } from './schedule.js'

/** `deaf`: requests pass, and at the first byte of an answer the connection is reset. */
export type LinkState = 'open' | Cut | 'deaf'

const SLOW_MS = 400

export interface Address {
  readonly host: string
  readonly port: number
}

interface Pair {
  readonly near: Socket
  readonly far: Socket
  /** Bytes of this connection are missing: it can never be used again. */
  torn: boolean
}

/** A link between two processes that can be cut. It listens on a port of its own and carries bytes to the target. */
export class TcpProxy {
  readonly #target: () => Address
  readonly #pairs = new Set<Pair>()
  #server: Server | undefined
  #port = 0
  #state: LinkState = 'open'

  /** @param target where to; asked for at each connection, for a store may come back on another port */
  constructor(target: () => Address) {
    this.#target = target
  }

  get port(): number {
    return this.#port
  }

  async start(): Promise<void> {
    const server = createServer((near) => this.#carry(near))
    this.#server = server
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    this.#port = address.port
  }

  /** From now on. What was lost on a connection while it was cut stays lost: mending resets such connections. */
  async set(state: LinkState): Promise<void> {
    this.#state = state
    if (state === 'refuse') {
      this.#reset(() => true)
      const server = this.#server
      this.#server = undefined
      server?.close()
    } else if (this.#server === undefined) await this.start()
    if (state === 'open') this.#reset((pair) => pair.torn)
  }

  stop(): void {
    this.#reset(() => true)
    this.#server?.close()
    this.#server = undefined
  }

  #reset(which: (pair: Pair) => boolean): void {
    for (const pair of this.#pairs) {
      if (!which(pair)) continue
      pair.near.resetAndDestroy()
      pair.far.resetAndDestroy()
    }
  }

  #carry(near: Socket): void {
    const far = connect(this.#target())
    const pair: Pair = { near, far, torn: false }
    this.#pairs.add(pair)
    near.setNoDelay(true)
    far.setNoDelay(true)
    // In half-open the far side never hears of the connection; it is made all the same, so that one code path serves both.
    if (this.#state === 'half_open') pair.torn = true
    this.#pipe(pair, near, far, 'there')
    this.#pipe(pair, far, near, 'back')
    near.on('error', () => undefined)
    far.on('error', () => undefined)
    near.on('close', () => {
      this.#pairs.delete(pair)
      far.destroy()
    })
    far.on('close', () => {
      // A half-open link does not tell that the other end has gone; mending it does.
      if (this.#state === 'half_open') pair.torn = true
      else near.destroy()
    })
  }

  #pipe(pair: Pair, from: Socket, to: Socket, way: 'there' | 'back'): void {
    // Bytes of a slow spell are still under way when it ends: what comes later queues behind them, or they would overtake.
    let under = 0
    const write = (chunk: Buffer): void => {
      if (!to.destroyed && !to.write(chunk)) {
        from.pause()
        to.once('drain', () => from.resume())
      }
    }
    from.on('data', (chunk: Buffer) => {
      if (this.#state === 'half_open' || pair.torn) {
        pair.torn = true
        return
      }
      if (this.#state === 'deaf' && way === 'back') {
        pair.near.resetAndDestroy()
        pair.far.resetAndDestroy()
        return
      }
      if (this.#state !== 'slow' && under === 0) return write(chunk)
      under += 1
      setTimeout(() => {
        under -= 1
        write(chunk)
      }, SLOW_MS)
    })
    from.on('end', () => {
      if (this.#state !== 'half_open') to.end()
    })
  }
}
