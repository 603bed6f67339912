/** Runs `work` for each number below `count`, `callers` at a time: each caller begins the next when its last has been answered. */
export async function inParallel(count: number, callers: number, work: (at: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (next < count) {
        next += 1
        await work(next - 1)
      }
    }),
  )
}
