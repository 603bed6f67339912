import { setTimeout as sleep } from 'node:timers/promises'
import { insist, once, type Command, type Wire } from './command-log.js'
import type { Deed } from './schedule.js'

export const NEWS = 'chaos.news'
export const GATE = 'chaos.gate'
export const WORKFLOW = 'chaos-study'

/** High enough that no job is given up because the nemesis was unlucky for it. */
export const MANY_ATTEMPTS = 60

export interface Clients {
  /** Plays the deeds at their times. Resolves when each is answered; deeds that wait for an agent go on until `stop`. */
  play(deeds: readonly Deed[]): Promise<void>
  /** Ends what still waits, such as for a job that never blocks. */
  stop(): void
}

/** The clients of the bus: they ask, keep their own log, and ask again under the same key until they are answered. */
export function createClients(wire: Wire): Clients {
  const { log } = wire
  let stopped = false
  const goesOn = (): boolean => !stopped
  const send = async (kind: Command['kind'], path: string, marker: string, body: Record<string, unknown>): Promise<Record<string, unknown> | undefined> =>
    insist(wire, path, log.begin({ actor: 'client', kind, key: `${kind}:${marker}`, marker, body }), { goesOn, pause: (ms) => sleep(ms) })

  async function perform(deed: Deed): Promise<void> {
    const { marker } = deed
    switch (deed.kind) {
      case 'job': {
        const payload = { marker, plan: deed.plan, other: deed.other }
        const job = await send('create', '/v1/jobs', marker, { target_agent: deed.agent, subject: `${deed.plan} ${marker}`, payload, max_attempts: MANY_ATTEMPTS })
        if (deed.plan === 'wait' && job !== undefined) await openGate(String(job['id']), marker)
        return
      }
      case 'event':
        await send('emit', '/v1/events', marker, { topic: NEWS, payload: { marker } })
        return
      case 'workflow':
        await send('start_workflow', `/v1/workflows/${WORKFLOW}/runs`, marker, { inputs: { marker }, correlation_key: marker })
        return
      case 'cancelled_job': {
        const body = { target_agent: deed.agent, subject: `cancelled ${marker}`, payload: { marker, plan: 'plain' }, max_attempts: MANY_ATTEMPTS }
        const job = await send('create', '/v1/jobs', marker, body)
        await sleep(deed.afterMs)
        if (job !== undefined) await send('cancel', `/v1/jobs/${String(job['id'])}/cancel`, marker, { reason: 'a client has changed its mind' })
        return
      }
    }
  }

  /** Says what a blocked job waits for, once it waits. */
  async function openGate(jobId: string, marker: string): Promise<void> {
    while (goesOn()) {
      const read = await once(wire, 'GET', `/v1/jobs/${jobId}`)
      if (read?.body['status'] === 'blocked') break
      await sleep(200)
    }
    await send('emit', '/v1/events', `${marker}:gate`, { topic: GATE, payload: { marker } })
  }

  return {
    play: async (deeds) => {
      const startedMs = performance.now()
      const open: Promise<void>[] = []
      for (const deed of deeds) {
        await sleep(Math.max(0, deed.atMs - (performance.now() - startedMs)))
        open.push(perform(deed))
      }
      await Promise.all(open)
    },
    stop: () => {
      stopped = true
    },
  }
}
