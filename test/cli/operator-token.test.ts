import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { operatorToken } from '../../cli/bootstrap.js'
import { freshLedger, OPERATOR, type TestLedger } from '../support/ledger.js'
import { runServerCli } from '../support/server-cli.js'

let t: TestLedger
let folder: string
let file: string
beforeEach(async () => {
  t = await freshLedger()
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-token-'))
  file = path.join(folder, 'operator-token')
})
afterEach(async () => {
  await t.close()
  await rm(folder, { recursive: true, force: true })
})

const kept = async (): Promise<string> => (await readFile(file, 'utf8')).trim()

describe('the token that a start shows', () => {
  test('is the same at every start, also with another ledger, and for the eyes of its owner', async () => {
    const first = await operatorToken(t.ledger, folder)
    const again = await operatorToken(t.ledger, folder)
    const other = await freshLedger()
    const elsewhere = await operatorToken(other.ledger, folder)

    expect([again, elsewhere, await kept()]).toEqual(Array(3).fill(first))
    expect(await other.ledger.tokens.authenticate(first)).toMatchObject({ role: 'operator' })
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    await other.close()
  })

  test('works: one that was revoked is replaced', async () => {
    const first = await operatorToken(t.ledger, folder)
    for (const { id } of await t.ledger.tokens.list()) await t.ledger.tokens.revoke(OPERATOR, id)

    const second = await operatorToken(t.ledger, folder)

    expect(second).not.toBe(first)
    expect(await kept()).toBe(second)
    expect(await t.ledger.tokens.authenticate(second)).toMatchObject({ role: 'operator' })
    expect(await operatorToken(t.ledger, folder)).toBe(second)
  })

  test.each(['', '\n', 'abt_', 'hunter2'])('works: a file that holds %j is replaced', async (text) => {
    await writeFile(file, text)

    const token = await operatorToken(t.ledger, folder)

    expect(token).toMatch(/^abt_[A-Za-z0-9_-]{43}$/)
    expect(await kept()).toBe(token)
    expect(await t.ledger.tokens.authenticate(token)).toMatchObject({ role: 'operator' })
  })
})

test.each(['', ' ', 'x'.repeat(101)])('agentbus operator-token refuses the name %j', async (name) => {
  const before = (await t.ledger.tokens.list()).length

  const ran = await runServerCli(['operator-token', '--name', name], { DATABASE_URL: t.url, AGENTBUS_DATA_DIR: folder })

  expect(ran).toMatchObject({ code: 2, stdout: '' })
  expect(await t.ledger.tokens.list()).toHaveLength(before)
})

test('a note of running stores that a crash left empty is none', async () => {
  await writeFile(path.join(folder, 'runtime.json'), '')

  const ran = await runServerCli(['migrate'], { AGENTBUS_DATA_DIR: folder })

  expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining('no agentbus up runs on this data folder') as string })
})
