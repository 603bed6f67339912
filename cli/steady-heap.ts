import { setFlagsFromString } from 'node:v8'

/**
 * For processes that run for long and mostly wait. When little is allocated, V8 collects the whole heap three times in a row to give memory
 * back, and sets itself so low a limit that it has to do so again soon: with a thousand agents that was a third of all CPU time of an idle
 * worker (docs/decisions/0035-no-memory-reducer.md).
 */
export function keepHeapSteady(): void {
  setFlagsFromString('--no-memory-reducer')
}
