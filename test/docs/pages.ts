import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'

/** Every page that people read: the README, the changelog, and all below `docs/`, `deploy/` and the results of benchmarks. */
export async function markdownPages(): Promise<{ readonly file: string; readonly text: string }[]> {
  const below = await Promise.all(
    ['deploy', 'docs', 'bench/results'].map(async (folder) => (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.md')).map((name) => path.join(folder, name))),
  )
  return Promise.all(['README.md', 'CHANGELOG.md', ...below.flat().sort()].map(async (file) => ({ file, text: await readFile(file, 'utf8') })))
}
