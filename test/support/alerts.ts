import { AlertsConfig } from '../../contracts/alerts.js'
import type { Ledger } from '../../ledger/ledger.js'
import { OPERATOR } from './ledger.js'

/** Puts alert rules in force: about dead letters of each agent, told to agent `devops`, unless they say otherwise. */
export async function alertRules(ledger: Ledger, rules: readonly Record<string, unknown>[], webhooks: readonly Record<string, unknown>[] = []): Promise<void> {
  const alerts = AlertsConfig.parse({
    webhooks,
    rules: rules.map((rule) => ({ name: 'dead-letters', figure: 'dead_letters', above: 0, clear_for_seconds: 0, notify: [{ agent: 'devops' }], ...rule })),
  })
  await ledger.applyFleet(OPERATOR, { version: 1, gateways: [], agents: [], alerts }, { dryRun: false, prune: false })
}
