const ascending = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b)

/** The value that a share `q` of all values lies below: 0.5, 0.95, 0.99. */
export function quantile(numbers: readonly number[], q: number): number {
  const sorted = ascending(numbers)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

/** The middle one of the rounds' figures: one disturbed round of three does not move it. */
export function median(numbers: readonly number[]): number {
  return quantile(numbers, 0.5)
}

/** As the results show a figure: the median, and the lowest and the highest round. */
export function spread(numbers: readonly number[], digits: number): string {
  return `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)}–${Math.max(...numbers).toFixed(digits)})`
}
