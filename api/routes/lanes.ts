import { z } from 'zod'
import { Paused } from '../../contracts/fleet.js'
import { Lane } from '../../contracts/job-states.js'
import { ReasonBody } from '../../contracts/job-operations.js'
import { LaneView } from '../../contracts/lanes.js'
import { defineRoute } from '../define-route.js'
import { requireRole } from '../read-access.js'

const tag = 'lanes'

export const laneRoutes = [
  defineRoute({
    id: 'listLanes',
    method: 'get',
    path: '/v1/lanes',
    tag,
    summary: 'Lanes, whether each is paused, and what is open in it',
    spec: { response: z.object({ items: z.array(LaneView) }).meta({ id: 'Lanes' }) },
    async handle({ caller }, { ledger }) {
      await requireRole(ledger, caller, ['operator', 'auditor', 'agent'])
      return { status: 200, body: { items: await ledger.listLanes() } }
    },
  }),
  ...(['pause', 'resume'] as const).map((verb) =>
    defineRoute({
      id: `${verb}Lane`,
      method: 'post',
      path: `/v1/lanes/{lane}/${verb}`,
      tag,
      access: 'operator',
      summary: verb === 'pause' ? 'Start nothing new in a lane, of any agent; what runs is left alone' : 'Let a lane go on; what was held starts by itself',
      spec: { params: z.object({ lane: Lane }), body: ReasonBody, response: Paused },
      async handle({ params, body, context }, { ledger }) {
        const changed = await ledger.setPaused(context, { scope: 'lane', target: params.lane, reason: body.reason, paused: verb === 'pause' })
        return { status: 200, body: { changed, paused: verb === 'pause' } }
      },
    }),
  ),
]
