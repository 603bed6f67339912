import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const TYPES: Readonly<Record<string, string>> = { css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', svg: 'image/svg+xml' }
const NAMES = ['console.css', 'console.js', 'theme.js', 'live.js', 'forms.js', 'json.js', 'regions.js', 'tail.js', 'icon.svg'] as const

export interface Asset {
  readonly type: string
  readonly body: Buffer
}

/** The files that pages refer to, read once. @throws when one is missing from this installation */
export function readAssets(): ReadonlyMap<string, Asset> {
  const here = import.meta.dirname
  // From the sources, or from dist/ beside them.
  const folders = [path.join(here, 'assets'), path.join(here, '..', '..', '..', 'board', 'console', 'assets')]
  const folder = folders.find((one) => existsSync(path.join(one, 'console.css')))
  if (folder === undefined) throw new Error('the folder board/console/assets is missing from this installation')
  return new Map(NAMES.map((name) => [name, { type: TYPES[path.extname(name).slice(1)] ?? 'application/octet-stream', body: readFileSync(path.join(folder, name)) }]))
}
