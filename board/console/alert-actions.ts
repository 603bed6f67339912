import { z } from 'zod'
import { AcknowledgeAlertBody, AlertId, AlertRuleName, LiftSilenceBody, SilenceAlertBody, SilenceId } from '../../contracts/alerts.js'
import { action, parsed, type Action } from './action.js'

const YEAR_SECONDS = 366 * 86_400

/** What a page can do about alerts. */
export const ALERT_ACTIONS: ReadonlyMap<string, Action> = new Map([
  [
    'acknowledge',
    action(z.object({ id: AlertId, reason: z.string() }), async ({ id, reason }, { ledger, context }) => {
      const { alert } = await ledger.alerts.acknowledge(context, id, parsed(AcknowledgeAlertBody, { reason }))
      return { message: `Acknowledged: ${alert.rule}, ${alert.subject}.` }
    }),
  ],
  [
    'silence',
    action(
      z.object({
        rule: AlertRuleName,
        subject: z.string(),
        of: z.enum(['subject', 'rule']),
        for_seconds: z.coerce.number().int().min(60).max(YEAR_SECONDS),
        reason: z.string(),
      }),
      async ({ rule, subject, of, for_seconds: seconds, reason }, { ledger, context }) => {
        const until = new Date(ledger.nowMs() + seconds * 1_000).toISOString()
        const { silence } = await ledger.alerts.silence(context, rule, parsed(SilenceAlertBody, { until, reason, ...(of === 'subject' ? { subject } : {}) }))
        return { message: `Silenced: ${silence.rule}${silence.subject === null ? '' : `, ${silence.subject}`}.` }
      },
    ),
  ],
  [
    'lift-silence',
    action(z.object({ id: SilenceId, reason: z.string() }), async ({ id, reason }, { ledger, context }) => {
      const { silence } = await ledger.alerts.lift(context, id, parsed(LiftSilenceBody, { reason }))
      return { message: `Told again: ${silence.rule}${silence.subject === null ? '' : `, ${silence.subject}`}.` }
    }),
  ],
])
