import { z } from 'zod'
import { AgentId } from './ids.js'

const agents = z.array(AgentId).max(1_000).default([])

/** The section `authority` of `fleet.yaml`: which agents may do what operators may. */
export const AuthorityConfig = z
  .strictObject({
    /** Decide approvals. */
    approve: agents,
    /** Review ideas, triage opportunities. */
    triage: agents,
    /** Turn an opportunity into a job. */
    convert: agents,
    /** Promote an idea or a memory. */
    promote: agents,
    /** Answer blocked jobs of others. */
    unblock: agents,
    /** Start and cancel workflows, and define those that no operator has put in force. */
    workflow: agents,
    /** Write the status of projects. */
    project_status: agents,
    /** Pause, drain, freeze and resume; cancel what belongs together. */
    control: agents,
  })
  .meta({ id: 'AuthorityConfig' })
export type AuthorityConfig = z.infer<typeof AuthorityConfig>
export type Right = keyof AuthorityConfig

/** The section `blocked` of `fleet.yaml`: how long work may be blocked before somebody is asked to plan anew. */
export const BlockedConfig = z
  .strictObject({
    patience_minutes: z.number().gt(0).max(525_600).default(240),
    /** Who gets the `blocked.replan` job. Absent: the coordinator of the inbox. */
    replan: AgentId.optional(),
  })
  .meta({ id: 'BlockedConfig' })
export type BlockedConfig = z.infer<typeof BlockedConfig>
