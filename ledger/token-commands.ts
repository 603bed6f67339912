import { AgentbusError } from '../contracts/errors.js'
import type { AgentId, AttemptId, JobId, TokenId } from '../contracts/ids.js'
import { actorOf, type Caller, type CommandContext } from './caller.js'
import type { Db, Tx } from './database.js'
import { hintAfterCommit } from './hints.js'
import { onceOnly } from './idempotency.js'
import { ageOf } from './remembered.js'
import { authenticate, AttemptTokens, createToken, listTokens, revokeToken, type TokenRole, type TokenView } from './tokens.js'

const REMEMBERED_TOKENS = 1_000

export interface TokenDeps {
  readonly secret: string
  readonly run: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>
  readonly read: <T>(work: (db: Db) => Promise<T>) => Promise<T>
  /** @throws AGENTBUS_FORBIDDEN, with a row */
  readonly operatorOnly: (caller: Caller) => Promise<void>
  readonly nowMs: () => number
}

/** Who a token belongs to, and the tokens that operators make and revoke. */
export class TokenCommands {
  /** Derives the tokens of attempts, which are stored nowhere. */
  readonly attempts: AttemptTokens
  readonly #deps: TokenDeps
  /** Questions under way: many requests with one token ask once. */
  readonly #signingIn = new Map<string, { readonly answer: Promise<Caller | undefined>; readonly askedMs: number }>()
  /** `askedMs` is when the ledger was asked; undefined for what never changes. */
  readonly #signedIn = new Map<string, { readonly caller: Caller; readonly askedMs: number | undefined }>()

  constructor(deps: TokenDeps) {
    this.#deps = deps
    this.attempts = new AttemptTokens(deps.secret)
  }

  list = (): Promise<TokenView[]> => this.#deps.read(listTokens)

  /** Forgets who signed in, as after a token was revoked. Questions under way may be answered from before that: nobody else joins them. */
  forget(): void {
    this.#signedIn.clear()
    this.#signingIn.clear()
  }

  /** An attempt that was opened here: the agent's next word is likely to come to this process. */
  expect(attempt: { readonly id: AttemptId; readonly jobId: JobId; readonly agentId: AgentId }): void {
    const { id: attemptId, jobId, agentId } = attempt
    this.#remember(this.attempts.issue(attemptId), { role: 'attempt', attemptId, jobId, agentId }, undefined)
  }

  /**
   * Who holds a token. A stored token is remembered for a second from when the ledger was asked, or until one is revoked; one that
   * is in use is asked about again before that, beside the request. Whose attempt a token is never changes, and whether that
   * attempt still lives is asked by whoever relies on it.
   */
  async authenticate(token: string): Promise<Caller | undefined> {
    const known = this.#signedIn.get(token)
    const age = known === undefined ? 'old' : ageOf(known.askedMs, this.#deps.nowMs())
    if (known === undefined || age === 'old') return this.#ask(token)
    // Nobody waits for it: when it fails, the request that has to wait is told.
    if (age === 'ageing') void this.#ask(token).catch(() => undefined)
    return known.caller
  }

  #ask(token: string): Promise<Caller | undefined> {
    const asked = this.#signingIn.get(token)
    const askedMs = this.#deps.nowMs()
    // One that hangs may be answered from before a revocation: nobody new waits for it.
    if (asked !== undefined && ageOf(asked.askedMs, askedMs) !== 'old') return asked.answer
    const answer: Promise<Caller | undefined> = this.#deps
      .read((db) => authenticate(db, this.attempts, token))
      .then((caller) => {
        if (this.#signingIn.get(token)?.answer !== answer) return caller
        if (caller === undefined) this.#signedIn.delete(token)
        else this.#remember(token, caller, caller.role === 'attempt' ? undefined : askedMs)
        return caller
      })
      .finally(() => {
        if (this.#signingIn.get(token)?.answer === answer) this.#signingIn.delete(token)
      })
    this.#signingIn.set(token, { answer, askedMs })
    return answer
  }

  #remember(token: string, caller: Caller, askedMs: number | undefined): void {
    if (this.#signedIn.size >= REMEMBERED_TOKENS) this.#signedIn.clear()
    this.#signedIn.set(token, { caller, askedMs })
  }

  /** Makes a token. @throws AGENTBUS_TOKEN_SHOWN for a repeat: a token is shown once */
  async create(
    context: CommandContext,
    what: { readonly name: string; readonly role: TokenRole; readonly agentId?: AgentId | undefined; readonly expiresAt?: string | undefined; readonly token?: string | undefined },
  ): Promise<{ token: string; view: TokenView }> {
    await this.#deps.operatorOnly(context.caller)
    let token: string | undefined
    const { view } = await this.#deps.run((tx) =>
      onceOnly(tx, context, async () => {
        const made = await createToken(tx, { ...what, createdBy: actorOf(context.caller).id, nowMs: this.#deps.nowMs() })
        token = made.token
        // Only the view is kept for a repeat: the ledger holds no secret.
        return { view: made.view }
      }),
    )
    if (token === undefined) {
      throw new AgentbusError('AGENTBUS_TOKEN_SHOWN', `Token ${view.id} (${view.name}) was made by an earlier request with this Idempotency-Key.`, { token_id: view.id })
    }
    return { token, view }
  }

  /**
   * Revokes a token; one that is revoked stays so, with its first time. A hint tells the other processes, which remember who signed in for a second at most.
   * @throws AGENTBUS_FORBIDDEN unless an operator asks, with a row; AGENTBUS_NOT_FOUND; AGENTBUS_IDEMPOTENCY_MISMATCH
   */
  async revoke(context: CommandContext, id: TokenId): Promise<TokenView> {
    await this.#deps.operatorOnly(context.caller)
    const { revoked } = await this.#deps.run((tx) =>
      onceOnly(tx, context, async () => {
        const view = await revokeToken(tx, id)
        hintAfterCommit(tx, { fleet: true })
        return { revoked: view }
      }),
    )
    return revoked
  }
}
