import { createServer } from 'node:net'

/**
 * A TCP port of 127.0.0.1 that is free now: `preferred` if it is, else any. Somebody else may take it before
 * the server does, so callers try again with another.
 */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && preferred > 0) {
    const kept = await tryListen(preferred).catch(() => undefined)
    if (kept !== undefined) return kept
  }
  return tryListen(0)
}

function tryListen(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address()
      server.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port)
        else reject(new Error('the system gave no port'))
      })
    })
  })
}
