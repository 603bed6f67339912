import { expect, test } from 'vitest'
import { startTestBus, until } from '../support/bus.js'

test('a worker that starts while its gateway is down works as soon as the gateway is back', { timeout: 60_000 }, async () => {
  const t = await startTestBus({ agents: { devops: { concurrency: 1 } } })
  await t.gateway.crash()
  const waiting = await t.enqueue({ subject: 'before' })
  await expect.poll(async () => (await t.ledger.listGateways())[0]?.breaker, { timeout: 20_000 }).toBe('open')
  const other = await t.another()
  // Only the worker that was born with a closed gate is left.
  await t.bus.stop()
  await t.gateway.start()

  const done = await until(other.ledger, waiting.id, ({ status }) => status === 'succeeded', 20_000)

  expect(done.attempt_count).toBe(1)
  await t.stop()
})
