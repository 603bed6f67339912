import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { importFaults } from '../../scripts/check-imports.js'

const FOLDERS = ['contracts', 'config', 'ledger', 'openclaw', 'queues', 'processors', 'api', 'board', 'embedded', 'cli']

test('the import rules catch a planted violation, and an unread tree', { timeout: 120_000 }, async () => {
  const copy = await mkdtemp(path.join(tmpdir(), 'agentbus-imports-'))
  for (const folder of FOLDERS) await cp(folder, path.join(copy, folder), { recursive: true })
  await cp('tsconfig.json', path.join(copy, 'tsconfig.json'))

  await writeFile(path.join(copy, 'api/planted.ts'), `import { Relay } from '../queues/relay.js'\nexport const planted = Relay\n`)
  const faults = importFaults(copy, { floor: 100_000 })
  await rm(copy, { recursive: true, force: true })

  expect(faults).toContain('api-imports: api/planted.ts → queues/relay.ts')
  expect(faults.some((fault) => fault.includes('modules were seen'))).toBe(true)
})
