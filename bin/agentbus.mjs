#!/usr/bin/env -S node --no-memory-reducer
// The flag: see docs/decisions/0035-no-memory-reducer.md.
import { existsSync } from 'node:fs'

const main = new URL('../dist/cli/main.js', import.meta.url)
if (existsSync(main)) {
  await import(main.href)
} else {
  console.error('agentbus: not built yet; run `npm run build` in the project folder.')
  process.exitCode = 1
}
