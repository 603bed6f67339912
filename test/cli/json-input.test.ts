import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect } from 'vitest'
import { test } from './fixtures.js'

const ENQUEUE = ['enqueue-job', '--target-agent', 'devops', '--subject', 'hello']

describe('JSON options', () => {
  test('take literal JSON', async ({ api, cli }) => {
    await cli([...ENQUEUE, '--payload', '{"a":"ä"}'])

    expect(api.seen[0]?.body).toMatchObject({ payload: { a: 'ä' } })
  })

  test('take a file, found from the current folder, with or without a byte order mark', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'p.json'), '\uFEFF{"from":"file"}')

    await cli([...ENQUEUE, '--payload', '@p.json'])

    expect(api.seen[0]?.body).toMatchObject({ payload: { from: 'file' } })
  })

  test('take standard input', async ({ api, cli }) => {
    await cli([...ENQUEUE, '--payload', '-'], { stdin: '{"from":"stdin"}' })

    expect(api.seen[0]?.body).toMatchObject({ payload: { from: 'stdin' } })
  })

  test('may be given from different places in one command', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 's.json'), '{"s":1}')

    await cli([...ENQUEUE, '--payload', '-', '--state', '@s.json'], { stdin: '{"p":1}' })

    expect(api.seen[0]?.body).toMatchObject({ payload: { p: 1 }, state: { s: 1 } })
  })

  const faults: readonly [string, readonly string[], RegExp][] = [
    ['standard input twice', ['--payload', '-', '--state', '-'], /--state cannot be read from standard input: --payload was read from it/],
    ['text that is no JSON', ['--payload', '{a:1}'], /--payload is not valid JSON: /],
    ['nothing', ['--payload', ''], /--payload is not valid JSON: /],
    ['a file that is not there', ['--payload', '@missing.json'], /--payload: the file missing\.json cannot be read \(ENOENT\)/],
    ['a folder', ['--payload', '@.'], /--payload: the file \. cannot be read \(EISDIR\)/],
    ['a device without an end', ['--payload', '@/dev/zero'], /larger than the 256 KiB/],
  ]
  for (const [what, argv, message] of faults) {
    test(`refuse ${what} in one line, and nothing is sent`, async ({ api, cli }) => {
      const ran = await cli([...ENQUEUE, ...argv], { stdin: '{}' })

      expect(ran).toMatchObject({ code: 2, stdout: '' })
      expect(ran.stderr).toMatch(message)
      expect(ran.stderr.trimEnd()).not.toContain('\n')
      expect(api.seen).toEqual([])
    })
  }

  test('refuse a file that is not UTF-8, instead of storing other letters', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'latin1.json'), Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xe4, 0x22, 0x7d]))

    const ran = await cli([...ENQUEUE, '--payload', '@latin1.json'])

    expect(ran).toMatchObject({ code: 2, stderr: 'agentbus: --payload: the file latin1.json is not UTF-8 text.\n' })
    expect(api.seen).toEqual([])
  })

  test('refuse standard input larger than what the API takes', async ({ cli }) => {
    expect((await cli([...ENQUEUE, '--payload', '-'], { stdin: JSON.stringify({ a: 'x'.repeat(300_000) }) })).code).toBe(2)
  })
})

describe('numbers', () => {
  for (const value of ['ten', '1.5', '1e3', '', '0x10', '99999999999999999999']) {
    test(`${JSON.stringify(value)} is refused`, async ({ api, cli }) => {
      expect(await cli([...ENQUEUE, '--priority', value])).toMatchObject({ code: 2, stderr: 'agentbus: --priority must be a whole number.\n' })
      expect(api.seen).toEqual([])
    })
  }
})
