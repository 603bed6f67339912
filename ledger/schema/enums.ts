import { pgEnum } from 'drizzle-orm/pg-core'
import { ACTOR_KINDS } from '../../contracts/actor.js'
import { APPROVAL_STATUSES } from '../../contracts/approvals.js'
import { AGENT_STATES } from '../../contracts/agents.js'
import { CONTROL_SCOPES } from '../../contracts/controls.js'
import { ALERT_DELIVERY_STATUSES, ALERT_LEVELS, ALERT_MOVES, ALERT_NOTICES, ALERT_RECEIVERS, ALERT_STATUSES } from '../../contracts/alerts.js'
import { FINDING_LEVELS, FINDING_MOVES, FINDING_STATUSES, MESSAGE_STATUSES } from '../../contracts/findings.js'
import { IDEA_STATUSES } from '../../contracts/ideas.js'
import { ATTEMPT_STATUSES, JOB_STATUSES, LANES, TRANSITION_REASONS } from '../../contracts/job-states.js'
import { CANDIDATE_STATUSES, MEMORY_KINDS, MEMORY_SCOPES, MEMORY_STABILITIES, MEMORY_STATUSES, MEMORY_VISIBILITIES } from '../../contracts/memories.js'
import { OPPORTUNITY_STATUSES, REVERSIBILITIES } from '../../contracts/opportunities.js'
import { REACTION_STATUSES } from '../../contracts/subscriptions.js'
import { WORKFLOW_RUN_STATUSES, WORKFLOW_STEP_STATUSES } from '../../contracts/workflow-states.js'
import { SLOT_STATUSES } from '../../contracts/standing-orders.js'

export const jobStatus = pgEnum('job_status', JOB_STATUSES)
export const attemptStatus = pgEnum('attempt_status', ATTEMPT_STATUSES)
export const lane = pgEnum('lane', LANES)
export const onLost = pgEnum('on_lost', ['retry', 'block'])
export const onDependencyDeath = pgEnum('on_dependency_death', ['block', 'cancel', 'run'])
export const transitionKind = pgEnum('transition_kind', ['move', 'note'])
export const transitionReason = pgEnum('transition_reason', TRANSITION_REASONS)
export const actorKind = pgEnum('actor_kind', ACTOR_KINDS)
export const breakerState = pgEnum('breaker_state', ['closed', 'open'])
export const tokenRole = pgEnum('token_role', ['operator', 'agent', 'auditor'])
export const observationKind = pgEnum('observation_kind', ['refusal', 'late_answer', 'mend', 'drop', 'outside_change', 'operator_action'])
export const outboxKind = pgEnum('outbox_kind', ['publish', 'remove'])
export const controlScope = pgEnum('control_scope', CONTROL_SCOPES)
export const slotStatus = pgEnum('slot_status', SLOT_STATUSES)
export const sessionMode = pgEnum('session_mode', ['isolated', 'main'])
export const findingLevel = pgEnum('finding_level', FINDING_LEVELS)
export const findingStatus = pgEnum('finding_status', FINDING_STATUSES)
export const findingMove = pgEnum('finding_move', FINDING_MOVES)
export const messageStatus = pgEnum('message_status', MESSAGE_STATUSES)
export const reactionStatus = pgEnum('reaction_status', REACTION_STATUSES)
export const approvalStatus = pgEnum('approval_status', APPROVAL_STATUSES)
export const agentState = pgEnum('agent_state', AGENT_STATES)
export const workflowRunStatus = pgEnum('workflow_run_status', WORKFLOW_RUN_STATUSES)
export const workflowStepStatus = pgEnum('workflow_step_status', WORKFLOW_STEP_STATUSES)
export const alertLevel = pgEnum('alert_level', ALERT_LEVELS)
export const alertStatus = pgEnum('alert_status', ALERT_STATUSES)
export const alertMove = pgEnum('alert_move', ALERT_MOVES)
export const alertNotice = pgEnum('alert_notice', ALERT_NOTICES)
export const alertReceiver = pgEnum('alert_receiver', ALERT_RECEIVERS)
export const alertDeliveryStatus = pgEnum('alert_delivery_status', ALERT_DELIVERY_STATUSES)
export const ideaStatus = pgEnum('idea_status', IDEA_STATUSES)
export const opportunityStatus = pgEnum('opportunity_status', OPPORTUNITY_STATUSES)
export const opportunityReversibility = pgEnum('opportunity_reversibility', REVERSIBILITIES)
export const memoryKind = pgEnum('memory_kind', MEMORY_KINDS)
export const memoryScope = pgEnum('memory_scope', MEMORY_SCOPES)
export const memoryVisibility = pgEnum('memory_visibility', MEMORY_VISIBILITIES)
export const memoryStability = pgEnum('memory_stability', MEMORY_STABILITIES)
export const candidateStatus = pgEnum('memory_candidate_status', CANDIDATE_STATUSES)
export const memoryStatus = pgEnum('memory_status', MEMORY_STATUSES)
