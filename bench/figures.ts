const ascending = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b)

/** The value that a share `q` of all values lies below: 0.5, 0.95, 0.99. */
export function quantile(numbers: readonly number[], q: number): number {
  const sorted = ascending(numbers)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

/** The middle one of the rounds' figures, or half-way between the two in the middle: one disturbed round of three does not move it. */
export function median(numbers: readonly number[]): number {
  const sorted = ascending(numbers)
  const half = sorted.length / 2
  return ((sorted[Math.ceil(half) - 1] ?? Number.NaN) + (sorted[Math.floor(half)] ?? Number.NaN)) / 2
}

/** As the results show a figure: the median, and the lowest and the highest round. */
export function spread(numbers: readonly number[], digits: number): string {
  return `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)}–${Math.max(...numbers).toFixed(digits)})`
}

/**
 * Where the median of what the values are a sample of lies with at least 95 %, whatever their distribution: between two of
 * them (the order statistics of the sign test). Fewer than six values are too few for that: undefined.
 */
export function medianInterval(numbers: readonly number[]): readonly [number, number] | undefined {
  const sorted = ascending(numbers)
  const n = sorted.length
  if (n < 6) return undefined
  // As many as this may lie outside on each side: all but 2.5 % of the time, fewer do.
  let cut = 0
  let term = 0.5 ** n
  let tail = term
  for (let k = 1; k < n / 2; k += 1) {
    term *= (n - k + 1) / k
    tail += term
    if (tail > 0.025) break
    cut = k
  }
  return [sorted[cut] ?? Number.NaN, sorted[n - 1 - cut] ?? Number.NaN]
}
