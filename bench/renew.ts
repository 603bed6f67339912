import { isDeepStrictEqual } from 'node:util'
import type { Results, Section } from './figure.js'

type Circumstances = Pick<Results, 'machine' | 'versions' | 'stores' | 'arguments'>

/**
 * Sections are compared with each other on one page, so they must have been measured on the same machine, with the same stores and as
 * often. To be asked before anything is measured. @throws naming what differs
 */
export function mustCompare(old: Circumstances, fresh: Circumstances): void {
  for (const part of ['machine', 'versions', 'stores'] as const) {
    if (!isDeepStrictEqual(old[part], fresh[part])) throw new Error(`the kept results are of another ${part}: run everything anew`)
  }
  const { only: _only, ...given } = fresh.arguments
  for (const [name, value] of Object.entries(given)) {
    const before = old.arguments[name]
    if (before !== undefined && before !== value) throw new Error(`the kept results were measured with --${name} ${String(before)}, not ${String(value)}: run everything anew`)
  }
}

/** Puts the figures of some sections in the place of theirs in older results. @throws as {@link mustCompare} */
export function renew(old: Results, fresh: Results, sections: readonly Section[]): Results {
  mustCompare(old, fresh)
  const isNew = (section: Section): boolean => sections.includes(section)
  const { only: _only, ...given } = fresh.arguments
  const { commit, date, busy } = fresh
  return {
    ...old,
    arguments: { ...given, ...old.arguments },
    figures: [...old.figures.filter(({ section }) => !isNew(section)), ...fresh.figures],
    renewed: [...old.renewed.filter(({ section }) => !isNew(section)), ...sections.map((section) => ({ section, commit, date, busy }))],
  }
}
