import { z } from 'zod'
import { Lane } from './job-states.js'

/** A lane as the API shows it. */
export const LaneView = z
  .object({
    lane: Lane,
    /** The lane itself is paused. A pause of an agent, of its gateway or of everything is shown there and lifted there. */
    paused: z.boolean(),
    reason: z.string().nullable(),
    since: z.iso.datetime({ offset: true }).nullable(),
    by: z.string().nullable(),
    queued: z.int(),
    /** Jobs that hold an attempt: leased or running. A pause leaves them alone. */
    running: z.int(),
  })
  .meta({ id: 'Lane' })
export type LaneView = z.infer<typeof LaneView>
