import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { commandOf, evidenceFile, PROOFS } from '../../scripts/evidence/catalogue.js'

/** The rows of the README's table: what a proof shows, its command, the file with its last output. */
async function rows(): Promise<{ shows: string; command: string; file: string }[]> {
  const section = /\n## Prove it\n([^]*?)\n## /.exec(await readFile('README.md', 'utf8'))?.[1] ?? ''
  return [...section.matchAll(/^\| (.+?) \| `(.+?)` \| (?:\[[^\]]+\]\(([^)]+)\)|none yet) \|$/gm)].map(([, shows = '', command = '', file = 'none yet']) => ({ shows, command, file }))
}

test('the README tells of every proof: what it shows, how to run it, where its last output is', async () => {
  expect(await rows()).toEqual(PROOFS.map((proof) => ({ shows: proof.shows, command: commandOf(proof), file: existsSync(evidenceFile(proof)) ? evidenceFile(proof) : 'none yet' })))
  expect(PROOFS.length).toBeGreaterThan(5)
})

test('docs/evidence holds outputs of proofs and nothing else', async () => {
  const known = PROOFS.map(evidenceFile)
  const kept = (await readdir('docs/evidence')).map((name) => `docs/evidence/${name}`)

  expect(kept.filter((file) => !known.includes(file))).toEqual([])
  expect(kept.length).toBeGreaterThan(3)
})

test.each(PROOFS.filter((proof) => proof.how.kind !== 'own' && existsSync(evidenceFile(proof))).map((proof) => [proof.name, proof] as const))('the evidence of %s says when, where and on which commit it held', async (_name, proof) => {
  const page = await readFile(evidenceFile(proof), 'utf8')
  const fact = (name: string): string | undefined => new RegExp(`^\\| ${name} \\| (.+) \\|$`, 'm').exec(page)?.[1]

  expect(page).toContain(`# ${proof.name}\n\n${proof.shows}.\n`)
  expect(fact('date')).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  expect(fact('commit')).toMatch(/^[0-9a-f]{12}$/)
  expect(fact('machine')).toMatch(/^\d+ cores, \d+ GiB of memory, .+, Node [\d.]+, PostgreSQL [\d.]+ \(embedded\), (Redis [\d.]+|no Redis)$/)
  expect(fact('exit code')).toBe('0')
  expect(fact('seed') !== undefined).toBe(proof.how.kind === 'command' && proof.how.seeded)
  expect(page).not.toMatch(/(^|\s)\/(root|home|work|tmp|Users)\//m)
})

test('the results of a benchmark name their date, machine and commit', async () => {
  for (const proof of PROOFS.filter(({ how }) => how.kind === 'own')) expect(await readFile(evidenceFile(proof), 'utf8')).toMatch(/Commit [0-9a-f]{7,}, \d{4}-\d\d-\d\d; \d+ cores/)
})

test.each(PROOFS.map((proof) => [proof.name, proof] as const))('CI runs %s, or a short form of it', async (_name, { inCi }) => {
  expect(await readFile(inCi.file, 'utf8')).toContain(inCi.title)
})
