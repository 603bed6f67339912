import type { AlertView, SilenceView } from '../../contracts/alerts.js'
import { ListAlertsQuery } from '../../contracts/alerts.js'
import { listAlerts, listSilences } from '../alerts/queries.js'
import type { Tx } from '../database.js'
import { readPolicy } from '../policies.js'

const OPEN_SHOWN = 100
const OVER_SHOWN = 10

export interface AlertBoard {
  /** Open alerts, those that nobody has acknowledged first, then by level, newest first. */
  readonly open: readonly AlertView[]
  readonly more: boolean
  readonly over: readonly AlertView[]
  readonly silences: readonly SilenceView[]
  /** Rules of the fleet file. */
  readonly rules: number
}

/** What alerts there are, what was over last, and what nobody is told of. */
export async function alertBoard(tx: Tx): Promise<AlertBoard> {
  const open = await listAlerts(tx, ListAlertsQuery.parse({ status: 'open', limit: OPEN_SHOWN }))
  const over = await listAlerts(tx, ListAlertsQuery.parse({ status: 'resolved', limit: OVER_SHOWN }))
  const { config } = await readPolicy(tx, 'alerts')
  const rank = (alert: AlertView): number => (alert.acknowledged_at === null ? 0 : 2) + (alert.level === 'urgent' ? 0 : 1)
  return {
    open: open.items.toSorted((one, other) => rank(one) - rank(other)),
    more: open.next_cursor !== null,
    over: over.items,
    silences: await listSilences(tx),
    rules: config.rules.length,
  }
}
