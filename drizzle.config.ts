import { defineConfig } from 'drizzle-kit'

export default defineConfig({
  dialect: 'postgresql',
  schema: [
    './ledger/schema/enums.ts',
    './ledger/schema/fleet.ts',
    './ledger/schema/controls.ts',
    './ledger/schema/jobs.ts',
    './ledger/schema/history.ts',
    './ledger/schema/plumbing.ts',
    './ledger/schema/standing-orders.ts',
    './ledger/schema/inbox.ts',
    './ledger/schema/handoffs.ts',
    './ledger/schema/workflows.ts',
    './ledger/schema/accesses.ts',
    './ledger/schema/audit.ts',
    './ledger/schema/prunes.ts',
    './ledger/schema/alerts.ts',
    './ledger/schema/metrics.ts',
    './ledger/schema/thoughts.ts',
  ],
  out: './drizzle',
  migrations: { prefix: 'timestamp' },
})
