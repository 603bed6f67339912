import { AgentbusError } from '../contracts/errors.js'
import type { AttemptId } from '../contracts/ids.js'
import type { RenderedPrompt } from '../ledger/lease-job.js'
import { sha256 } from '../ledger/canonical.js'
import type { Ledger } from '../ledger/ledger.js'
import type { AttemptRow } from '../ledger/rows.js'
import { joinBodyOf, type HookBodies } from '../openclaw/render-hook.js'

/** Stands in the stored prompt where the attempt's token was. */
export const TOKEN_PLACE = '{{agentbus:attempt-token}}'

/**
 * A stored prompt with the token put back, at the first place alone: the token stands once, in the bus's own words, before
 * anything that somebody else wrote. Whoever writes the mark into a payload gets it back as it is.
 */
export function withToken(storedBody: string, token: string): string {
  return storedBody.replace(TOKEN_PLACE, () => token)
}

/** Prompts rendered by this process and not yet posted. The ledger has them all; this only saves reading one back. */
const RECENT = 1_000

/**
 * The exact bytes of hook bodies. They are rendered once, at the lease; whoever posts again, in whatever process, takes
 * them from the ledger, puts the derived token back, and checks the hash: the same bytes or none.
 */
export class HookPrompts {
  readonly #recent = new Map<string, string>()

  /** Turns a rendered admission body into what the ledger keeps. */
  keep(body: string, token: string, contractVersion: string): RenderedPrompt {
    const hash = sha256(body)
    this.#recent.set(hash, body)
    const oldest = this.#recent.size > RECENT ? this.#recent.keys().next().value : undefined
    if (oldest !== undefined) this.#recent.delete(oldest)
    return { hash, storedBody: body.replaceAll(token, TOKEN_PLACE), bytes: Buffer.byteLength(body), contractVersion }
  }

  /** The two bodies to post for an attempt. @throws AGENTBUS_INTERNAL when the stored bytes do not have the stored hash */
  async bodiesOf(ledger: Ledger, attempt: AttemptRow): Promise<HookBodies> {
    const admit = this.#recent.get(attempt.prompt_hash) ?? (await exactPrompt(ledger, attempt.id as AttemptId)).body
    this.#recent.delete(attempt.prompt_hash)
    return { admit, join: joinBodyOf(admit) }
  }
}

/**
 * The bytes an attempt was sent, with its token put back.
 * @throws AGENTBUS_NOT_FOUND, AGENTBUS_INTERNAL when they do not have the hash that was recorded
 */
export async function exactPrompt(ledger: Ledger, attemptId: AttemptId): Promise<{ hash: string; body: string; bytes: number }> {
  const stored = await ledger.getPrompt(attemptId)
  const body = withToken(stored.body, ledger.tokens.attempts.issue(attemptId))
  if (sha256(body) !== stored.hash) {
    throw new AgentbusError('AGENTBUS_INTERNAL', `The stored prompt of attempt ${attemptId} does not have its recorded hash ${stored.hash}.`, { attempt_id: attemptId })
  }
  return { ...stored, body }
}
