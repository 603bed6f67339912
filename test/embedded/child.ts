import { createLogger } from '../../config/logger.js'
import { messageOf } from '../../contracts/errors.js'
import { openDataDir } from '../../embedded/data-dir.js'
import { startEmbeddedPostgres } from '../../embedded/embedded-postgres.js'
import { startPrivateRedis } from '../../embedded/private-redis.js'

/*
 * A process of its own for tests: opens the data folder, starts what it is asked for, says so in one JSON
 * line, and ends in order when its standard input closes.
 */
const [what = '', path = '', binary = ''] = process.argv.slice(2)
const log = createLogger({ level: 'info', pretty: false })

async function start(dataDir: string): Promise<{ url?: string; stop(): Promise<void> }> {
  if (what === 'postgres') return startEmbeddedPostgres({ dataDir, log })
  if (what === 'redis') return startPrivateRedis({ dataDir, binary, log })
  return { stop: () => Promise.resolve() }
}

try {
  const dataDir = await openDataDir(path)
  const store = await start(dataDir.path)
  process.stdout.write(`${JSON.stringify({ ready: true, pid: process.pid, url: store.url })}\n`)
  process.stdin.resume().once('end', () => {
    void store.stop().then(() => dataDir.release())
  })
} catch (error) {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  process.stdout.write(`${JSON.stringify({ ready: false, code, message: messageOf(error) })}\n`)
  process.exitCode = 1
}
