import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BundleWriter } from '../../cli/bundle-writer.js'
import { CliError } from '../../cli/io.js'
import { BUNDLE_FILES } from '../../ledger/audit/read-export.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'agentbus-bundle-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

const LINE = JSON.stringify({ text: 'x'.repeat(1_000) })

test('every line is in its file once it is closed, and a file without lines is there', async () => {
  const files = new BundleWriter(folder)

  for (let at = 0; at < 500; at += 1) await files.write('transitions.jsonl', LINE)
  await files.write('jobs.jsonl', '{}')
  await files.close()

  const lengths = await Promise.all(BUNDLE_FILES.map(async (name) => (await readFile(path.join(folder, name), 'utf8')).split('\n').length - 1))
  expect(Object.fromEntries(BUNDLE_FILES.map((name, at) => [name, lengths[at]]))).toEqual({
    ...Object.fromEntries(BUNDLE_FILES.map((name) => [name, 0])),
    'transitions.jsonl': 500,
    'jobs.jsonl': 1,
  })
})

test('a folder that takes no files is told, and does not end the process', async () => {
  const files = new BundleWriter(path.join(folder, 'gone'))

  const failure = await files.close().catch((error: unknown) => error)
  files.abandon()

  expect(failure).toBeInstanceOf(CliError)
  expect(failure).toMatchObject({ exitCode: 1, message: expect.stringMatching(/^checkpoints\.jsonl cannot be written: ENOENT/) as string })
})

describe.runIf(existsSync('/dev/full'))('on a disk that is full', () => {
  beforeEach(() => symlink('/dev/full', path.join(folder, 'jobs.jsonl')))

  test('the bundle does not pass for whole, though its lines were taken', async () => {
    const files = new BundleWriter(folder)
    await files.write('jobs.jsonl', '{}')

    await expect(files.close()).rejects.toThrow(/^jobs\.jsonl cannot be written: ENOSPC.*The bundle is not whole/)
    files.abandon()
  })

  test('writing ends soon, and not after all lines', async () => {
    const files = new BundleWriter(folder)
    const writing = async (): Promise<void> => {
      for (let at = 0; at < 10_000; at += 1) await files.write('jobs.jsonl', LINE)
    }

    await expect(writing()).rejects.toThrow(/ENOSPC/)
    files.abandon()
  })
})
