import type { Redis } from 'ioredis'
import { z } from 'zod'
import { LATE_MS, surveyInPortions, type Glance, type Survey } from './survey.js'

const HELD = 1
const FILLED = 2
const DUE = 4
const SCHEDULED = 8
const PAUSED = 16
/** The limit stands above the marks, one more than it is, so that 0 says that there is none. */
const ONE_OF_LIMIT = 32

/**
 * One number per queue. The keys are BullMQ's: a marker in `marker` is what a waiting worker takes when it wakes, and who
 * dies with it in hand leaves entries that no other worker is told of. A score of `delayed` is a time, times 4096, and a count.
 */
const GLANCES = `
local clock = redis.call('TIME')
local late = (clock[1] * 1000 + math.floor(clock[2] / 1000) - ARGV[1]) * 4096
local found = {}
for at = 2, #ARGV do
  local queue = ARGV[at]
  local held = redis.call('LLEN', queue .. 'active')
  local waiting = redis.call('EXISTS', queue .. 'wait', queue .. 'prioritized') > 0
  local delayed = redis.call('ZRANGE', queue .. 'delayed', 0, 0, 'WITHSCORES')
  local meta = redis.call('HMGET', queue .. 'meta', 'concurrency', 'paused')
  local limit = tonumber(meta[1])
  local marks = 0
  if held > 0 then marks = marks + ${HELD} end
  if waiting or delayed[1] then marks = marks + ${FILLED} end
  if (waiting or (delayed[2] and tonumber(delayed[2]) < late)) and not meta[2] and not (limit and held >= limit)
    and redis.call('EXISTS', queue .. 'marker') == 0 then marks = marks + ${DUE} end
  if redis.call('EXISTS', queue .. 'repeat') == 1 then marks = marks + ${SCHEDULED} end
  if meta[2] then marks = marks + ${PAUSED} end
  if limit then marks = marks + ${ONE_OF_LIMIT} * (limit + 1) end
  found[at - 1] = marks
end
return found`

const Marks = z.array(z.int().min(0))

/** @returns a glance at each queue, by one command for each thousand */
export async function surveyRedis(connection: Redis, prefix: string, names: readonly string[]): Promise<Survey> {
  return surveyInPortions(names, async (portion) => {
    const queues = portion.map((name) => `${prefix}:${name}:`)
    return Marks.parse(await connection.eval(GLANCES, 0, LATE_MS, ...queues)).map(glanceOf)
  })
}

function glanceOf(marks: number): Glance {
  const limit = Math.floor(marks / ONE_OF_LIMIT)
  return {
    held: (marks & HELD) !== 0,
    filled: (marks & FILLED) !== 0,
    due: (marks & DUE) !== 0,
    scheduled: (marks & SCHEDULED) !== 0,
    paused: (marks & PAUSED) !== 0,
    limit: limit === 0 ? undefined : limit - 1,
  }
}

/** Puts the mark that a waiting worker wakes for, as BullMQ does when an entry is added. */
export async function wakeRedis(connection: Redis, prefix: string, names: readonly string[]): Promise<void> {
  await Promise.all(names.map((name) => connection.zadd(`${prefix}:${name}:marker`, 0, '0')))
}
