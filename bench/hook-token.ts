/** The token that gateways of the benchmarks want to see. In a file of its own, so that a gateway's process need not load the bus. */
export const HOOK_TOKEN = 'bench-hook-token'
