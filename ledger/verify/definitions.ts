import type pg from 'pg'
import { canonicalJson, sha256 } from '../canonical.js'
import type { Findings } from './report.js'

const PAGE = 100

interface Row {
  readonly namespace: string
  readonly name: string
  readonly version: number
  readonly definition: unknown
  readonly hash: string
}

/** Each version of a workflow is the text that was put in force: it has the hash that was written with it. They are few: all are looked at. @returns how many */
export async function checkDefinitions(client: pg.Client, findings: Findings): Promise<number> {
  let examined = 0
  let last: Pick<Row, 'namespace' | 'name' | 'version'> = { namespace: '', name: '', version: 0 }
  for (;;) {
    const { rows } = await client.query<Row>(
      `select w.namespace, w.name, w.version, w.definition, w.hash from workflows w
       where (w.namespace, w.name, w.version) > ($1, $2, $3::int) order by w.namespace, w.name, w.version limit ${PAGE}`,
      [last.namespace, last.name, last.version],
    )
    for (const { namespace, name, version, definition, hash } of rows) {
      if (sha256(canonicalJson(definition)) === hash) continue
      findings.add({
        kind: 'definition_changed',
        what: `Version ${version} of workflow ${name} in namespace ${namespace} is not the text that was put in force: it does not have the hash ${hash}.`,
        row: { namespace, workflow: name, version, hash },
        next: 'Restore the definition from a backup; its hash tells when it is the right one. Versions never change.',
      })
    }
    examined += rows.length
    last = rows.at(-1) ?? last
    if (rows.length < PAGE) return examined
  }
}
