/** The signal of one piece of work. Whoever has it made ends it when the work is over. */
export interface ChildSignal {
  readonly signal: AbortSignal
  /** Aborts what is still under way, and leaves nothing with the parents. */
  readonly end: () => void
}

/**
 * Aborts as soon as one of `parents` does. `AbortSignal.any` is not used: on a signal that lives as long as the process it leaves
 * something behind for every call, and a worker calls some three times for each delivery.
 */
export function childSignal(...parents: readonly AbortSignal[]): ChildSignal {
  const controller = new AbortController()
  const end = (): void => {
    for (const parent of parents) parent.removeEventListener('abort', end)
    controller.abort()
  }
  for (const parent of parents) parent.addEventListener('abort', end, { once: true })
  if (parents.some(({ aborted }) => aborted)) end()
  return { signal: controller.signal, end }
}
