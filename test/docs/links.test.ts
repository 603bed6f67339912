import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'

async function pages(): Promise<string[]> {
  const docs = await readdir('docs', { recursive: true })
  return ['README.md', 'CHANGELOG.md', 'deploy/README.md', ...docs.filter((name) => name.endsWith('.md')).map((name) => path.join('docs', name))]
}

test('every link from page to page leads somewhere', async () => {
  const links: { from: string; to: string }[] = []
  for (const from of await pages()) {
    const text = await readFile(from, 'utf8')
    for (const match of text.matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)) links.push({ from, to: match[1] ?? '' })
  }

  const broken = links.filter(({ from, to }) => !existsSync(path.join(path.dirname(from), to)))

  expect(broken).toEqual([])
  expect(links.length).toBeGreaterThan(15)
})

test('every page of docs/ is linked from the README', async () => {
  const readme = await readFile('README.md', 'utf8')

  const unlinked = (await readdir('docs')).filter((name) => name.endsWith('.md') && !readme.includes(`](docs/${name})`))

  expect(unlinked).toEqual([])
})

test('the changelog keeps its form: Unreleased first, then versions with dates, each with known sections', async () => {
  const text = await readFile('CHANGELOG.md', 'utf8')

  const versions = [...text.matchAll(/^## (.+)$/gm)].map((match) => match[1] ?? '')
  const sections = [...text.matchAll(/^### (.+)$/gm)].map((match) => match[1] ?? '')

  expect(text).toMatch(/^# Changelog\n/)
  expect(versions[0]).toBe('[Unreleased]')
  for (const version of versions.slice(1)) expect(version).toMatch(/^\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}$/)
  for (const section of sections) expect(['Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security']).toContain(section)
  expect(sections).toContain('Added')
})
