import { expect, inject, test } from 'vitest'
import { planTroubles, tell, TEST_SEEDS, TEST_STORM_MS } from '../chaos/schedule.js'
import { runStorm } from '../chaos/storm.js'
import { BACKEND } from '../support/bus.js'
import { ownPostgres, ownRedis } from '../support/own-stores.js'

const SEED = Number(process.env['AGENTBUS_TEST_SEED'] ?? TEST_SEEDS[BACKEND])
const BOUND_MS = 90_000

test(
  `a storm of ${TEST_STORM_MS / 1_000} s from seed ${SEED}: clients and gateways find in the ledger what they were told`,
  async () => {
    const redis = BACKEND === 'redis' ? await ownRedis() : undefined
    const postgres = await ownPostgres({ prepared: inject('preparedPostgres') })
    const told: string[] = []
    try {
      await redis?.start()
      const report = await runStorm({
        seed: SEED,
        backend: BACKEND,
        stormMs: TEST_STORM_MS,
        perSecond: 3,
        boundMs: BOUND_MS,
        postgres,
        ...(redis === undefined ? {} : { redis }),
        onTrouble: (trouble) => told.push(tell(trouble)),
      })

      console.log(`[${BACKEND}] chaos, seed ${SEED}: ${JSON.stringify(report.counts)}, settled ${report.settledMs} ms after the storm`)
      // The schedule belongs to the failure: with it and the seed the storm can be had again.
      expect({ broken: report.verdicts.filter(({ holds }) => !holds), told }).toEqual({ broken: [], told: planTroubles(SEED, BACKEND, TEST_STORM_MS).map(tell) })
      for (const what of ['commands acknowledged', 'gateway runs', 'memory losses of gateways', 'processes asked to end', 'slots'])
        expect(report.counts[what], what).toBeGreaterThan(0)
    } finally {
      await redis?.stop()
      await postgres.stop()
    }
  },
  // The last process that was asked to end may take its time, and so may a sweep that the queues are held against.
  TEST_STORM_MS + BOUND_MS + 120_000,
)
