import { expect, test } from 'vitest'
import { planTroubles, tell } from '../chaos/schedule.js'
import { runStorm } from '../chaos/storm.js'
import { BACKEND } from '../support/bus.js'
import { cloneDatabase } from '../support/ledger.js'
import { ownRedis } from '../support/own-stores.js'

/** On both backends this one kills, pauses, cuts, wipes the queues, lets a gateway die, and makes one deaf, all within 12 s. */
const SEED = Number(process.env['AGENTBUS_TEST_SEED'] ?? 170)
const STORM_MS = 12_000
const BOUND_MS = 90_000

test(
  `a storm of ${STORM_MS / 1_000} s from seed ${SEED}: clients and gateways find in the ledger what they were told`,
  async () => {
    const redis = BACKEND === 'redis' ? await ownRedis() : undefined
    const told: string[] = []
    try {
      await redis?.start()
      const report = await runStorm({
        seed: SEED,
        backend: BACKEND,
        stormMs: STORM_MS,
        perSecond: 3,
        boundMs: BOUND_MS,
        databaseUrl: await cloneDatabase(),
        ...(redis === undefined ? {} : { redis }),
        onTrouble: (trouble) => told.push(tell(trouble)),
      })

      console.log(`[${BACKEND}] chaos, seed ${SEED}: ${JSON.stringify(report.counts)}, settled ${report.settledMs} ms after the storm`)
      // The schedule belongs to the failure: with it and the seed the storm can be had again.
      expect({ broken: report.verdicts.filter(({ holds }) => !holds), told }).toEqual({ broken: [], told: planTroubles(SEED, BACKEND, STORM_MS).map(tell) })
      for (const what of ['commands acknowledged', 'gateway runs', 'gateway deaths', 'slots']) expect(report.counts[what], what).toBeGreaterThan(0)
    } finally {
      await redis?.stop()
    }
  },
  STORM_MS + BOUND_MS + 60_000,
)
