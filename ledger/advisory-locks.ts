/**
 * The keys of advisory locks that stand for one thing in the whole ledger, in one place so that no two are the same: whoever held one
 * would hold up the other. Locks with a name, of a limit or a workflow, are made of its hash.
 */
export const ADVISORY = {
  migrate: 7_717_001,
  applyFleet: 7_717_002,
  assignJobs: 7_717_003,
  auditorRole: 7_717_004,
  /** Only one process at a time writes checkpoints; a second one has nothing to do. */
  checkpoint: 7_717_005,
  /** One at a time over all processes: each row of `prunes` follows the one before. */
  prune: 7_717_006,
  /** Of two parts; the second is the project. */
  projectStatus: 7_717_007,
  pendingResults: 7_717_008,
  /** Whoever promotes or converts shares it, and whoever freezes that has it alone. */
  promotions: 7_717_009,
  conversions: 7_717_010,
  alerts: 7_717_022,
  countMetrics: 7_717_023,
} as const
