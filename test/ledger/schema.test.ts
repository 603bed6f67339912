import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { describeSchema, SCHEMA_FILE } from '../../scripts/write-schema.js'
import { cloneDatabase } from '../support/ledger.js'

const run = promisify(execFile)

test('the dump in git is what the migrations make', async () => {
  expect(await describeSchema(await cloneDatabase())).toBe(await readFile(SCHEMA_FILE, 'utf8'))
})

test('the committed migrations are all that the schema asks for', { timeout: 60_000 }, async () => {
  // Below node_modules, where the copied configuration finds drizzle-kit.
  const folder = await mkdtemp(path.join('node_modules', '.agentbus-drift-'))
  try {
    await cp('drizzle', path.join(folder, 'drizzle'), { recursive: true })
    const config = (await readFile('drizzle.config.ts', 'utf8')).replaceAll("'./ledger/", `'${process.cwd()}/ledger/`).replace("out: './drizzle'", `out: './${folder}/drizzle'`)
    await writeFile(path.join(folder, 'drizzle.config.ts'), config)
    const before = await readdir(path.join(folder, 'drizzle'))

    const { stdout } = await run(process.execPath, ['node_modules/drizzle-kit/bin.cjs', 'generate', '--config', path.join(folder, 'drizzle.config.ts')])

    expect(stdout).toContain('No schema changes')
    expect(await readdir(path.join(folder, 'drizzle'))).toEqual(before)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
