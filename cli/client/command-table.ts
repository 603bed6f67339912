import { ALERT_COMMANDS } from './alert-rows.js'
import type { CommandRow } from './command-row.js'
import { FLEET_COMMANDS } from './commands/fleet-rows.js'
import { HAND_OFF_COMMANDS } from './commands/hand-off-rows.js'
import { IDEA_COMMANDS } from './commands/idea-rows.js'
import { INBOX_COMMANDS } from './commands/inbox-rows.js'
import { LOOKING_COMMANDS, TRACE_COMMANDS } from './commands/looking-rows.js'
import { MEMORY_COMMANDS } from './commands/memory-rows.js'
import { OPERATING_COMMANDS } from './commands/operating-rows.js'
import { OPPORTUNITY_COMMANDS } from './commands/opportunity-rows.js'
import { OWN_JOB_COMMANDS } from './commands/own-job-rows.js'
import { STANDING_ORDER_COMMANDS } from './commands/standing-order-rows.js'
import { WORK_COMMANDS } from './commands/work-rows.js'
import { WORKFLOW_COMMANDS } from './commands/workflow-rows.js'
import { CONTROL_COMMANDS } from './control-rows.js'
import { PROJECT_COMMANDS } from './project-rows.js'

/** The client commands that are one request each, in the order of the help. */
export const COMMANDS: readonly CommandRow[] = [
  ...WORK_COMMANDS,
  ...OWN_JOB_COMMANDS,
  ...OPERATING_COMMANDS,
  ...LOOKING_COMMANDS,
  ...STANDING_ORDER_COMMANDS,
  ...INBOX_COMMANDS,
  ...HAND_OFF_COMMANDS,
  ...TRACE_COMMANDS,
  ...WORKFLOW_COMMANDS,
  ...PROJECT_COMMANDS,
  ...IDEA_COMMANDS,
  ...OPPORTUNITY_COMMANDS,
  ...MEMORY_COMMANDS,
  ...CONTROL_COMMANDS,
  ...ALERT_COMMANDS,
  ...FLEET_COMMANDS,
]
