import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'

const page = readFile('docs/security.md', 'utf8')

/** The rows of the table of threats, each as its three cells. */
async function threats(): Promise<string[][]> {
  const table = /\n## Threats\n([^]*?)\n## /.exec(await page)?.[1] ?? ''
  const rows = table.split('\n').filter((line) => line.startsWith('| '))
  return rows.slice(1).map((row) =>
    row
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.trim()),
  )
}

/** Each test that a text quotes: its file, and its title. */
function quotedTests(text: string): { file: string; title: string }[] {
  return [...text.matchAll(/`(test\/[^`]+\.ts)` "([^"]+)"/g)].map(([, file = '', title = '']) => ({ file, title }))
}

test('every source and test file that the page of security names exists', async () => {
  const named = [...(await page).matchAll(/`((?:api|board|cli|config|contracts|ledger|openclaw|processors|queues|test)\/[^`\s]*)`/g)].map(([, file = '']) => file)

  expect(named.filter((file) => !existsSync(file))).toEqual([])
  expect(named.length).toBeGreaterThan(60)
})

test('every test that the page of security quotes stands in the file that it names', async () => {
  const quoted = quotedTests(await page)
  const missing: unknown[] = []
  for (const { file, title } of quoted) if (!(await readFile(file, 'utf8')).includes(title)) missing.push({ file, title })

  expect(missing).toEqual([])
  expect(quoted.length).toBeGreaterThan(50)
})

test('every threat has something against it and a test that shows it', async () => {
  const rows = await threats()

  expect(rows.length).toBeGreaterThan(25)
  expect(rows.filter((cells) => cells.length !== 3 || cells[1] === '' || quotedTests(cells[2] ?? '').length === 0)).toEqual([])
  // A title without the file that it stands in would be looked for nowhere.
  expect(rows.filter(([, , shown = '']) => (shown.match(/"/g)?.length ?? 0) !== quotedTests(shown).length * 2)).toEqual([])
})
