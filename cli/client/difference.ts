import { jsonText, oneLine } from '../printable.js'
import { asObject, type Json } from './json.js'

/** What a command changed or would change, field by field, with a last line that counts. */
export function difference(changes: readonly Json[], { dryRun }: { readonly dryRun: boolean }): string {
  const lines = changes.flatMap((change) => {
    if (change['change'] === 'unchanged') return []
    const fields = Object.entries(asObject(change['fields'])).map(([name, value]) => {
      const { from, to } = asObject(value)
      return oneLine(`    ${name}: ${change['change'] === 'added' ? '' : `${valueText(from)} → `}${valueText(to)}`, 300)
    })
    return [oneLine(`${String(change['change'])} ${String(change['kind'])} ${String(change['id'])}`), ...fields]
  })
  const unchanged = changes.filter((change) => change['change'] === 'unchanged').length
  const changed = changes.length - unchanged
  return `${[...lines, `${changed} changed, ${unchanged} unchanged${dryRun ? '; nothing was written (dry run)' : ''}`].join('\n')}\n`
}

function valueText(value: unknown): string {
  return value === undefined ? '(none)' : jsonText(value, { indent: 0 })
}
