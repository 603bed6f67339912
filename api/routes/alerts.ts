import { z } from 'zod'
import {
  AcknowledgeAlertBody,
  AlertDeliveryView,
  AlertHistory,
  AlertId,
  AlertRuleName,
  AlertView,
  LiftSilenceBody,
  ListAlertsQuery,
  SilenceAlertBody,
  SilenceId,
  SilenceView,
} from '../../contracts/alerts.js'
import { defineRoute } from '../define-route.js'

const tag = 'alerts'
const ByRule = z.object({ rule: AlertRuleName })

function replay(replayed: boolean | undefined): Readonly<Record<string, string>> {
  return replayed === true ? { 'Idempotency-Replayed': 'true' } : {}
}

export const alertRoutes = [
  defineRoute({
    id: 'listAlerts',
    method: 'get',
    path: '/v1/alerts',
    tag,
    access: 'operator or auditor',
    summary: 'Alerts, newest first; the open ones unless another status is asked for',
    spec: { query: ListAlertsQuery, response: z.object({ items: z.array(AlertView), next_cursor: z.string().nullable() }).meta({ id: 'AlertPage' }) },
    async handle({ query }, { ledger }) {
      return { status: 200, body: await ledger.listAlerts(query) }
    },
  }),
  defineRoute({
    id: 'getAlert',
    method: 'get',
    path: '/v1/alerts/{id}',
    tag,
    access: 'operator or auditor',
    summary: 'One alert with its history, and every message about it with its tries',
    spec: { params: z.object({ id: AlertId }), response: AlertHistory },
    async handle({ params }, { ledger }) {
      return { status: 200, body: await ledger.alertHistory(params.id) }
    },
  }),
  defineRoute({
    id: 'acknowledgeAlert',
    method: 'post',
    path: '/v1/alerts/{id}/acknowledge',
    tag,
    access: 'operator',
    summary: 'Say that somebody looks after an alert: no more reminders; its end is told still',
    spec: { params: z.object({ id: AlertId }), body: AcknowledgeAlertBody, response: AlertView },
    async handle({ params, body, context }, { ledger }) {
      const { alert, replayed } = await ledger.alerts.acknowledge(context, params.id, body)
      return { status: 200, body: alert, headers: replay(replayed) }
    },
  }),
  defineRoute({
    id: 'silenceAlert',
    method: 'post',
    path: '/v1/alert-rules/{rule}/silence',
    tag,
    access: 'operator',
    summary: 'Tell nobody of a rule, or of one subject of it, until a time; what lasts beyond it is told then',
    status: 201,
    spec: { params: ByRule, body: SilenceAlertBody, response: SilenceView },
    async handle({ params, body, context }, { ledger }) {
      const { silence, replayed } = await ledger.alerts.silence(context, params.rule, body)
      return { status: 201, body: silence, headers: replay(replayed) }
    },
  }),
  defineRoute({
    id: 'testAlert',
    method: 'post',
    path: '/v1/alert-rules/{rule}/test',
    tag,
    access: 'operator',
    summary: 'Send a test to every receiver of a rule, by the way that an alert takes',
    status: 201,
    spec: { params: ByRule, response: z.object({ items: z.array(AlertDeliveryView) }).meta({ id: 'AlertDeliveries' }) },
    async handle({ params, context }, { ledger }) {
      const { items, replayed } = await ledger.alerts.test(context, params.rule)
      return { status: 201, body: { items }, headers: replay(replayed) }
    },
  }),
  defineRoute({
    id: 'listSilences',
    method: 'get',
    path: '/v1/alert-silences',
    tag,
    access: 'operator or auditor',
    summary: 'Silences that hold, the one that ends first first',
    spec: { response: z.object({ items: z.array(SilenceView) }).meta({ id: 'AlertSilences' }) },
    async handle(_input, { ledger }) {
      return { status: 200, body: { items: await ledger.listSilences() } }
    },
  }),
  defineRoute({
    id: 'liftSilence',
    method: 'post',
    path: '/v1/alert-silences/{id}/lift',
    tag,
    access: 'operator',
    summary: 'End a silence before its time',
    spec: { params: z.object({ id: SilenceId }), body: LiftSilenceBody, response: SilenceView },
    async handle({ params, body, context }, { ledger }) {
      const { silence, replayed } = await ledger.alerts.lift(context, params.id, body)
      return { status: 200, body: silence, headers: replay(replayed) }
    },
  }),
]
