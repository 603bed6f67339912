import { auditExport, traceStory, verifyClean, verifyTampered, type Account } from './live-proofs.js'

/** What is on the command line of a proof that takes them. */
export interface Wishes {
  readonly minutes: string
  readonly seed: string
}

export interface Proof {
  readonly name: string
  /** In a sentence, as in the README. */
  readonly shows: string
  readonly how:
    | { readonly kind: 'command'; readonly command: (wishes: Wishes) => readonly string[]; readonly seeded: boolean }
    /** On a bus of its own, with content. */
    | { readonly kind: 'live'; readonly play: (account: Account) => Promise<void> }
    /** A command that writes its results itself, with date, machine and commit. */
    | { readonly kind: 'own'; readonly command: string; readonly results: string }
  /** The test in which CI runs it, or a short form of it. */
  readonly inCi: { readonly file: string; readonly title: string }
}

const LIVE_TEST = 'test/process/evidence.test.ts'

const chaos = (backend: 'redis' | 'postgres'): Proof => ({
  name: `chaos-${backend}`,
  shows: `Real processes and stores (queues on ${backend === 'redis' ? 'Redis' : 'PostgreSQL'}) are killed, stopped, cut off and wiped under load; clients and gateways find in the ledger what they were told`,
  how: { kind: 'command', command: ({ minutes, seed }) => ['npm', 'run', '--silent', 'chaos', '--', '--minutes', minutes, '--seed', seed, '--backend', backend], seeded: true },
  inCi: { file: 'test/crash/chaos.test.ts', title: 'clients and gateways find in the ledger what they were told' },
})

const suite = (name: string, shows: string, args: readonly string[], inCi: Proof['inCi']): Proof => ({
  name,
  shows,
  how: { kind: 'command', command: () => ['npx', '--no', 'vitest', 'run', ...args, '--reporter=verbose'], seeded: false },
  inCi,
})

/** Every proof there is. The README and docs/evidence name the same ones. */
export const PROOFS: readonly Proof[] = [
  {
    name: 'verify-clean',
    shows: 'Every rule of the ledger is recomputed from its rows, and holds',
    how: { kind: 'live', play: verifyClean },
    inCi: { file: LIVE_TEST, title: 'the proof %s holds on a bus of its own' },
  },
  {
    name: 'verify-tampered',
    shows:
      "A word, a payload, a result and the end of an attempt changed, a row deleted, put in, or in another place, a tail cut off, a job deleted, all by the database's owner with its guards off: each is found and named",
    how: { kind: 'live', play: verifyTampered },
    inCi: { file: LIVE_TEST, title: 'the proof %s holds on a bus of its own' },
  },
  {
    name: 'audit-export',
    shows: 'A bundle is checked offline by a script that shares no code with agentbus; with one word changed it does not fit',
    how: { kind: 'live', play: auditExport },
    inCi: { file: LIVE_TEST, title: 'the proof %s holds on a bus of its own' },
  },
  {
    name: 'trace',
    shows: 'The story of a job with its lineage, and of an agent: what it was told, read, wrote and did',
    how: { kind: 'live', play: traceStory },
    inCi: { file: LIVE_TEST, title: 'the proof %s holds on a bus of its own' },
  },
  chaos('redis'),
  chaos('postgres'),
  suite('crash', 'kill -9 of workers, API, Redis and PostgreSQL, each at a chosen step, on both queue backends', ['--project', 'redis', '--project', 'postgres', 'test/crash'], {
    file: 'test/crash/stores-killed.test.ts',
    title: 'PostgreSQL killed under load and started again',
  }),
  suite('security', 'The attacks that docs/security.md names, tried and refused', ['--project', 'core', 'test/security'], {
    file: 'test/security/tokens.test.ts',
    title: 'guess',
  }),
  {
    name: 'bench',
    shows: 'What agentbus does per second and how fast, beside the same work without a ledger, bare BullMQ, pg-boss and graphile-worker',
    how: { kind: 'own', command: 'npm run bench', results: 'bench/results/peers.md' },
    inCi: { file: 'test/process/bench.test.ts', title: 'everyone is measured' },
  },
]

/** Where the last output of a proof is kept. */
export function evidenceFile({ name, how }: Proof): string {
  return how.kind === 'own' ? how.results : `docs/evidence/${name}.md`
}

/** How a reader runs it. */
export function commandOf({ name, how }: Proof): string {
  return how.kind === 'own' ? how.command : `npm run evidence -- --print ${name}`
}
