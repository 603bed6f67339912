import { readFile } from 'node:fs/promises'
import type pg from 'pg'
import { Registry } from 'prom-client'
import { createMetrics } from '../api/metrics.js'
import { ALERT_FIGURES, AlertsConfig, type AlertFigure } from '../contracts/alerts.js'
import { readFigure } from '../ledger/alerts/figures.js'
import type { Ledger } from '../ledger/ledger.js'

/** Something that people or programs read, and how. */
export interface Read {
  readonly group: 'view' | 'audit query' | 'metrics' | 'alert rule'
  readonly name: string
  readonly read: () => Promise<number>
  /** Reads the whole history, whatever its size: shown, and held to no limit. */
  readonly unbounded?: boolean
}

const DAY_MS = 86_400_000
const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)

/** Every view of the ledger, the open and the windowed, as the docs say to ask it. */
const ORDERED: Readonly<Record<string, string>> = {
  ready_jobs_v: ' order by priority desc, run_after limit 100',
  hand_offs_v: " where created_at >= now() - interval '1 day'",
  standing_order_gaps_v: " where slot_at >= now() - interval '1 day'",
  standing_order_daily_counts_v: " where day >= (now() - interval '1 day')::date",
}

/** The reads of a ledger that have to stay quick however long its history is. */
export async function readsOf(client: pg.Client, ledger: Ledger): Promise<readonly Read[]> {
  return [...(await views(client)), ...(await auditQueries(client)), scrape(ledger), ...alertRules(ledger)]
}

async function views(client: pg.Client): Promise<Read[]> {
  const { rows } = await client.query<{ name: string }>(`select viewname as name from pg_views where schemaname = 'public' order by 1`)
  return rows.map(({ name }) => ({ group: 'view', name, read: async () => (await client.query(`select * from ${name}${ORDERED[name] ?? ''}`)).rows.length }))
}

/** The queries of the docs with the last whole day in place of theirs. One without a window has no bound. */
async function auditQueries(client: pg.Client): Promise<Read[]> {
  const text = await readFile('docs/audit-queries.md', 'utf8')
  const now = Date.now()
  const dates = { '2026-11-10': day(now - DAY_MS), '2026-11-11': day(now), '2026-11-01': day(now - 30 * DAY_MS), '2026-12-01': day(now + DAY_MS) }
  return [...text.matchAll(/^### (.+)\n(?:(?!###)[\s\S])*?```sql\n([\s\S]*?)```/gm)].map(([, name = '', query = '']) => {
    const asked = Object.entries(dates)
      .reduce((sql, [from, to]) => sql.replaceAll(from, to), query)
      .replaceAll("'security'", "'agent-7'")
    return {
      group: 'audit query',
      name,
      unbounded: asked === query && /\bfrom (jobs|job_transitions|events|findings)\b/.test(query) && !query.includes('correlation_key'),
      read: async () => (await client.query(asked)).rows.length,
    }
  })
}

function scrape(ledger: Ledger): Read {
  const registry = new Registry()
  createMetrics(registry, ledger)
  return { group: 'metrics', name: 'a whole scrape', read: async () => (await registry.metrics()).split('\n').length }
}

function alertRules(ledger: Ledger): Read[] {
  const { rules } = AlertsConfig.parse({ rules: (Object.keys(ALERT_FIGURES) as AlertFigure[]).map((figure) => ({ name: figure.replaceAll('_', '-'), figure, above: 0 })) })
  return rules.map((rule) => ({ group: 'alert rule', name: rule.figure, read: async () => (await readFigure(ledger.db, rule, Date.now())).size }))
}
