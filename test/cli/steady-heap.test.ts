import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

test('the flag that long-running processes set is one that this Node knows', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--v8-options'], { maxBuffer: 10 * 1_024 * 1_024 })
  const program = `require('node:v8').setFlagsFromString('--no-memory-reducer')`
  // A flag that is unknown is told on stderr, and nothing else happens.
  const { stderr } = await promisify(execFile)(process.execPath, ['-e', program])

  expect(stdout).toMatch(/^ +--memory-reducer \(/m)
  expect(stderr).toBe('')
})
