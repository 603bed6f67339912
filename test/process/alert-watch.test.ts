import { expect, test } from 'vitest'
import { createLogger } from '../../config/logger.js'
import type { Ledger } from '../../ledger/ledger.js'
import { AlertWatch } from '../../processors/alert-watch.js'

test('a process that stops claims no more notices: each of them would fail, and use up one of its tries', async () => {
  let claims = 0
  const closings: Promise<void>[] = []
  const alerts = {
    anyDue: async () => true,
    tellAgent: async () => undefined,
    // As many as are asked for, so that there may be more; not for ever, or a fault would be an endless loop here.
    claimPosts: async ({ limit }: { readonly limit: number }) => {
      claims += 1
      // The process is stopped while it claims.
      if (closings.length === 0) closings.push(watch.close())
      return claims > 3 ? [] : Array.from({ length: limit }, () => ({ delivery: { id: 'd', tries: 1, receiver: 'ops', body: {} }, webhook: undefined }))
    },
    recordTry: async () => 'pending',
  }
  const ledger = { db: {}, nowMs: () => 0, alerts } as unknown as Ledger
  const watch = new AlertWatch({ ledger, log: createLogger({ level: 'silent' }), workerId: 'w1', readSecret: () => '' })

  await watch.send()
  await Promise.all(closings)

  expect(claims).toBe(1)
})
