import { messageOf } from '../contracts/errors.js'
import { keepUp, type Keeper } from './keep-up.js'
import type { RedisPlace } from './redis-place.js'
import { adoptRedis, startRedis, type RedisServer } from './redis-server.js'

/**
 * Starts the server again whenever it ends without being asked to, at the same port and with the same password. What its append-only
 * file had is there again; a last second that it had not is mended from the ledger, as after any loss of the queue store.
 */
export function keepRedis(place: RedisPlace, first: RedisServer): Keeper {
  const { clock, home, log } = place
  const { port } = first
  return keepUp(first, {
    clock,
    startAgain: async (signal) => (await adoptRedis(place, { port, signal })) ?? (await startRedis(place, { onlyPort: port, signal })),
    onDied: () => log.error({ event: 'private_redis.died', port, home }, 'the private Redis has ended and is started again'),
    onRestarted: () => log.warn({ event: 'private_redis.restarted', port }, 'the private Redis is up again'),
    onNotRestarted: (error) => log.error({ event: 'private_redis.not_restarted', port, err: messageOf(error) }, 'the private Redis did not start again; it is tried again'),
    onNotKept: (error) => log.error({ event: 'private_redis.not_kept', err: messageOf(error) }, 'nobody looks after the private Redis any more; restart agentbus'),
  })
}
