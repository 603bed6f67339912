import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { markdownPages } from './pages.js'

interface Link {
  readonly from: string
  /** The file that is meant, as a path from here. */
  readonly file: string
  /** What stands behind `#`, if anything. */
  readonly anchor: string | undefined
}

/** The text outside of code: a link in a block of code leads nowhere, and a `#` there is no heading. */
function withoutBlocks(markdown: string): string {
  return markdown.replace(/^ {0,3}```[^]*?^ {0,3}```/gm, '')
}

function linksOf(from: string, markdown: string): Link[] {
  return [...withoutBlocks(markdown).matchAll(/\]\(([^()\s]+)\)/g)].flatMap((match) => {
    const [to = '', anchor] = (match[1] ?? '').split('#')
    if (/^[a-z]+:/.test(to)) return []
    return [{ from, file: to === '' ? from : path.join(path.dirname(from), to), anchor }]
  })
}

/** The anchors of a page's headings, as GitHub makes them: of two headings that are alike the second gets a number. */
function anchorsOf(markdown: string): Set<string> {
  const seen = new Map<string, number>()
  const anchors = new Set<string>()
  for (const [, heading = ''] of withoutBlocks(markdown).matchAll(/^#{1,6} +(.+?)(?: +#*)?$/gm)) {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    const slug = text
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M} _-]/gu, '')
      .replace(/ /g, '-')
    const count = seen.get(slug) ?? 0
    seen.set(slug, count + 1)
    anchors.add(count === 0 ? slug : `${slug}-${count}`)
  }
  return anchors
}

/** Every link between pages that leads to no file, or to no heading of it. */
function brokenLinks(pages: readonly { readonly file: string; readonly text: string }[]): { readonly broken: string[]; readonly links: Link[] } {
  const anchors = new Map(pages.map(({ file, text }) => [file, anchorsOf(text)]))
  const links = pages.flatMap(({ file, text }) => linksOf(file, text))
  const isBroken = ({ file, anchor }: Link): boolean => (!anchors.has(file) && !existsSync(file)) || (anchor !== undefined && anchors.get(file)?.has(anchor) !== true)
  return { broken: links.filter(isBroken).map(({ from, file, anchor }) => `${from}: ${file}${anchor === undefined ? '' : `#${anchor}`}`), links }
}

test('every link from page to page leads to a file, and to a heading of it', async () => {
  const { broken, links } = brokenLinks(await markdownPages())

  expect(broken).toEqual([])
  expect(links.length).toBeGreaterThan(80)
  expect(links.filter(({ anchor }) => anchor !== undefined).length).toBeGreaterThan(3)
})

test('the check sees a link to no file, to no heading, and to a heading that only a block of code seems to have', () => {
  const page = '# One\n\n## What `it` does, in short\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```\n'
  const links = ['b.md', '#one', '#what-it-does-in-short', '#twice-1', 'https://example.org/x#y', 'gone.md', '#gone', '#no-heading', '#twice-2', 'b.md#gone']

  const { broken } = brokenLinks([
    { file: 'a.md', text: page + links.map((to) => `[x](${to})`).join('\n') },
    { file: 'b.md', text: '# B\n' },
  ])

  expect(broken).toEqual(['a.md: gone.md', 'a.md: a.md#gone', 'a.md: a.md#no-heading', 'a.md: a.md#twice-2', 'a.md: b.md#gone'])
})

test('every decision is in the list of decisions, once and in its order', async () => {
  const list = await readFile('docs/decisions/README.md', 'utf8')
  const records = (await readdir('docs/decisions')).filter((name) => name !== 'README.md').sort()

  const listed = [...list.matchAll(/^- \[(\d+)\. [^\]]+\]\(([^)]+)\): \S/gm)].map(([, number = '', file = '']) => ({ number: Number(number), file }))

  expect(listed.map(({ file }) => file)).toEqual(records)
  expect(listed.map(({ number }) => number)).toEqual(records.map((name) => Number(name.slice(0, 4))))
  expect(records.every((name) => /^\d{4}-[a-z0-9-]+\.md$/.test(name))).toBe(true)
  expect(records.length).toBeGreaterThan(20)
})

test('every page of docs/ is linked from the README', async () => {
  const readme = await readFile('README.md', 'utf8')

  const unlinked = (await readdir('docs')).filter((name) => name.endsWith('.md') && !readme.includes(`](docs/${name})`))

  expect(unlinked).toEqual([])
  for (const file of ['docs/decisions/README.md', 'LICENSE']) expect(readme).toContain(`](${file})`)
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
