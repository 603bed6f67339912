import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { AgentbusError } from '../contracts/errors.js'
import { uuidv7, type AgentId, type AttemptId, type JobId, type TokenId } from '../contracts/ids.js'
import type { Caller } from './caller.js'
import { sqlStateOf, type Db, type Tx } from './database.js'
import { iso } from './rows.js'

export type TokenRole = 'operator' | 'agent' | 'auditor'

export interface TokenView {
  readonly id: TokenId
  readonly name: string
  readonly role: TokenRole
  readonly agent_id: AgentId | null
  readonly created_by: string
  readonly created_at: string
  readonly expires_at: string | null
  readonly revoked_at: string | null
}

/** How a stored token starts; 32 random bytes follow, so a hash without salt is enough. */
const PREFIX = 'abt_'
/** How an attempt's token starts; it is derived from the attempt id and stored nowhere. */
const ATTEMPT_PREFIX = 'aat_'

/**
 * Attempt tokens are an HMAC over the attempt's id, so every worker renders the same bytes again and the ledger
 * holds no secret. They die with the attempt because every use asks the ledger whether it is open.
 */
export class AttemptTokens {
  readonly #key: Buffer

  constructor(secret: string) {
    this.#key = createHash('sha256').update(`agentbus attempt tokens v1\n${secret}`).digest()
  }

  /** A public fingerprint, by which processes notice that they were given different secrets. */
  fingerprint(): string {
    return createHmac('sha256', this.#key).update('fingerprint').digest('hex').slice(0, 16)
  }

  issue(attemptId: AttemptId): string {
    const id = Buffer.from(attemptId.replaceAll('-', ''), 'hex')
    return `${ATTEMPT_PREFIX}${Buffer.concat([id, this.#mac(id)]).toString('base64url')}`
  }

  /** The attempt a token belongs to, or undefined for a token that nobody issued. Constant time in the secret part. */
  verify(token: string): AttemptId | undefined {
    if (!token.startsWith(ATTEMPT_PREFIX)) return undefined
    const raw = Buffer.from(token.slice(ATTEMPT_PREFIX.length), 'base64url')
    if (raw.length !== 16 + 24) return undefined
    const id = raw.subarray(0, 16)
    if (!timingSafeEqual(raw.subarray(16), this.#mac(id))) return undefined
    const hex = id.toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}` as AttemptId
  }

  #mac(id: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(id).digest().subarray(0, 24)
  }
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

function tokenView(row: Record<string, unknown> | undefined): TokenView {
  if (row === undefined) throw new Error('the token row is missing')
  const at = (value: unknown): string | null => (value === null ? null : iso(String(value)))
  return { ...(row as unknown as TokenView), created_at: iso(String(row['created_at'])), expires_at: at(row['expires_at']), revoked_at: at(row['revoked_at']) }
}

/** Makes a token and returns it once; the ledger keeps its hash. `token` sets a given one, for the first start. */
export async function createToken(
  tx: Tx,
  what: {
    readonly name: string
    readonly role: TokenRole
    readonly agentId?: AgentId | undefined
    readonly expiresAt?: string | undefined
    readonly createdBy: string
    readonly nowMs: number
    readonly token?: string | undefined
  },
): Promise<{ token: string; view: TokenView }> {
  const token = what.token ?? `${PREFIX}${randomBytes(32).toString('base64url')}`
  try {
    const { rows } = await tx.execute(sql`
      insert into api_tokens (id, name, role, agent_id, hash, created_by, expires_at)
      values (${uuidv7(what.nowMs)}::uuid, ${what.name}, ${what.role}::token_role, ${what.agentId ?? null}, ${hashOf(token)}, ${what.createdBy}, ${what.expiresAt ?? null}::timestamptz)
      returning id, name, role, agent_id, created_by, created_at, expires_at, revoked_at`)
    return { token, view: tokenView(rows[0]) }
  } catch (error) {
    if (sqlStateOf(error) === '23503') throw new AgentbusError('AGENTBUS_UNKNOWN_AGENT', `No agent has the id ${what.agentId ?? ''}.`, { agent_id: what.agentId })
    throw error
  }
}

export async function listTokens(db: Db): Promise<TokenView[]> {
  const { rows } = await db.execute(sql`
    select id, name, role, agent_id, created_by, created_at, expires_at, revoked_at from api_tokens order by id limit 1000`)
  return rows.map(tokenView)
}

/** @throws AGENTBUS_NOT_FOUND */
export async function revokeToken(tx: Tx, id: TokenId): Promise<TokenView> {
  const { rows } = await tx.execute(sql`
    update api_tokens set revoked_at = coalesce(revoked_at, now()) where id = ${id}::uuid
    returning id, name, role, agent_id, created_by, created_at, expires_at, revoked_at`)
  const row = rows[0]
  if (row === undefined) throw new AgentbusError('AGENTBUS_NOT_FOUND', `No token has the id ${id}.`)
  return tokenView(row)
}

/** Finds out who holds a bearer token; undefined when nobody does, or no longer. */
export async function authenticate(db: Db, attemptTokens: AttemptTokens, token: string): Promise<Caller | undefined> {
  if (token.startsWith(ATTEMPT_PREFIX)) return authenticateAttempt(db, attemptTokens, token)
  if (!token.startsWith(PREFIX) || token.length > 200) return undefined
  const { rows } = await db.execute(sql`
    select id, name, role, agent_id from api_tokens
    where hash = ${hashOf(token)} and revoked_at is null and (expires_at is null or expires_at > now())`)
  const row = rows[0]
  if (row === undefined) return undefined
  const found = { tokenId: String(row['id']), name: String(row['name']) }
  switch (row['role']) {
    case 'operator':
      return { role: 'operator', ...found }
    case 'auditor':
      return { role: 'auditor', ...found }
    default:
      return { role: 'agent', ...found, agentId: String(row['agent_id']) as AgentId }
  }
}

async function authenticateAttempt(db: Db, attemptTokens: AttemptTokens, token: string): Promise<Caller | undefined> {
  const attemptId = attemptTokens.verify(token)
  if (attemptId === undefined) return undefined
  const { rows } = await db.execute(sql`select job_id, agent_id from job_attempts where id = ${attemptId}::uuid`)
  const row = rows[0]
  if (row === undefined) return undefined
  return { role: 'attempt', attemptId, jobId: String(row['job_id']) as JobId, agentId: String(row['agent_id']) as AgentId }
}

/** Whether the attempt still holds its job within its lease: its token may read. */
export async function isAttemptOpen(db: Db, id: AttemptId): Promise<boolean> {
  const { rows } = await db.execute(sql`select 1 from job_attempts where id = ${id}::uuid and finished_at is null and leased_until > clock_timestamp()`)
  return rows.length > 0
}

/**
 * Ties the ledger to the secret that attempt tokens are derived with.
 * @throws AGENTBUS_CONFIG when this process was given another secret than the ledger was first used with
 */
export async function assertSameSecret(db: Db, attemptTokens: AttemptTokens): Promise<void> {
  const fingerprint = attemptTokens.fingerprint()
  await db.execute(sql`insert into ledger_meta (key, value) values ('secret_fingerprint', ${fingerprint}) on conflict do nothing`)
  const { rows } = await db.execute<{ value: string }>(sql`select value from ledger_meta where key = 'secret_fingerprint'`)
  if (rows[0]?.value === fingerprint) return
  throw new AgentbusError(
    'AGENTBUS_CONFIG',
    'AGENTBUS_SECRET is not the one this ledger was first used with; attempts opened by other processes could not be verified. Give every process the same AGENTBUS_SECRET.',
  )
}

/** Whether this is the secret that the ledger was first used with; writes nothing, and knows no better while no process has used it. */
export async function knowsSecret(db: Db, attemptTokens: AttemptTokens): Promise<boolean> {
  const { rows } = await db.execute<{ value: string }>(sql`select value from ledger_meta where key = 'secret_fingerprint'`)
  return rows[0] === undefined || rows[0].value === attemptTokens.fingerprint()
}
