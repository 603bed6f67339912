import { expect, test } from 'vitest'
import { HookPrompts, TOKEN_PLACE, withToken } from '../../cli/hook-prompts.js'
import { sha256 } from '../../ledger/canonical.js'

test('a prompt is kept without its token and comes back byte for byte, also when somebody wrote the mark into the payload', () => {
  const token = 'aat_1234'
  const body = JSON.stringify({ message: `AGENTBUS_TOKEN=${token}\n---\n{"note":"${TOKEN_PLACE} and $& ${TOKEN_PLACE}"}` })

  const kept = new HookPrompts().keep(body, token, '1')

  expect(kept.storedBody).not.toContain(token)
  expect(withToken(kept.storedBody, token)).toBe(body)
  expect(sha256(withToken(kept.storedBody, token))).toBe(kept.hash)
})
