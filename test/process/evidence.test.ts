import { homedir, hostname, tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { PROOFS } from '../../scripts/evidence/catalogue.js'
import { play } from '../../scripts/evidence/play.js'
import { scrub } from '../../scripts/evidence/scrub.js'

const LIVE = PROOFS.filter(({ how }) => how.kind === 'live')
const WISHES = { minutes: '1', seed: '1' }

test.each(LIVE.map((proof) => [proof.name, proof] as const))('the proof %s holds on a bus of its own', { timeout: 180_000 }, async (_name, proof) => {
  const { code, output } = await play(proof, WISHES)

  expect(output).not.toContain('MISSING:')
  expect({ code, output }).toMatchObject({ code: 0 })
  for (const ofThisMachine of [path.resolve('.'), path.join(tmpdir(), 'agentbus'), `worker ${hostname()}-`]) expect(output).not.toContain(ofThisMachine)
})

test('a proof in which something is missing, or a command ends otherwise, does not hold', async () => {
  const proof = (
    how: (account: { ran: (command: string, ran: { code: number; output: string }, wanted: number) => void; needs: (what: string, holds: boolean) => void }) => void,
  ) => ({
    name: 'x',
    shows: 'x',
    how: { kind: 'live' as const, play: async (account: Parameters<typeof how>[0]) => how(account) },
    inCi: { file: '', title: '' },
  })

  expect(
    await play(
      proof(({ ran }) => ran('verify', { code: 0, output: '' }, 0)),
      WISHES,
    ),
  ).toMatchObject({ code: 0 })
  expect(
    await play(
      proof(({ ran }) => ran('verify', { code: 0, output: '' }, 8)),
      WISHES,
    ),
  ).toMatchObject({ code: 1, output: expect.stringContaining('[exit code 0, wanted 8]') as string })
  expect(
    await play(
      proof(({ needs }) => needs('a word', false)),
      WISHES,
    ),
  ).toMatchObject({ code: 1, output: 'MISSING: a word' })
})

test('an output loses what tells which machine it came from, and keeps the rest', () => {
  const said = [
    'npm warn Unknown user config "x"',
    `\u001b[32mread\u001b[39m ${path.resolve('ledger/a.ts')} and ${path.join(tmpdir(), 'agentbus-x1', 'data')}`,
    `worker ${hostname()}-17 in ${homedir()}/ws`,
    'postgres://agentbus:secret-word@127.0.0.1:5432/agentbus with abt_abcDEF-123 and aat_xyz',
  ].join('\n')

  expect(scrub(said)).toBe(['read ./ledger/a.ts and <temp>/data', 'worker host-17 in ~/ws', 'postgres://…@127.0.0.1:5432/agentbus with abt_… and aat_…'].join('\n'))
})
