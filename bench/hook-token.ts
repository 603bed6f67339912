/** The token that gateways of the benchmarks want to see. In a file of its own, so that a gateway's process need not load the bus. */
export const HOOK_TOKEN = 'bench-hook-token'
/** What the benchmarks' ledgers derive attempt tokens from, so that processes share them. */
export const BENCH_SECRET = 'bench-secret-bench-secret-bench-secret'
