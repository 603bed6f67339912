import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { AgentbusError } from '../../contracts/errors.js'
import { canonicalJson } from '../canonical.js'

export const FORMAT = 'agentbus backup 1'
export const MANIFEST = 'manifest.json'

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const Name = z.string().regex(/^[a-z_][a-z0-9_]*$/)
const Count = z.int().min(0)

const Body = z.object({
  format: z.literal(FORMAT),
  made_at: z.iso.datetime(),
  postgres: z.string(),
  /** The next transaction number at that time: a cluster that is below it counts anew. */
  xact: z.string().regex(/^\d+$/),
  /** Hashes of the migrations that the ledger had, in their order. */
  migrations: z.array(Sha256).min(1),
  /** `text` of COPY, gzipped; the hash is that of the file. */
  tables: z.array(z.object({ name: Name, columns: z.array(Name).min(1), file: z.string().regex(/^[a-z_][a-z0-9_]*\.copy\.gz$/), rows: Count, bytes: Count, sha256: Sha256 })),
  sequences: z.array(z.object({ table: Name, column: Name, last_value: z.string().regex(/^\d+$/) })),
})
const Manifest = Body.extend({ hash: Sha256 })

/** What a backup says of itself. It is written last: a folder without it is no backup. */
export type Manifest = z.infer<typeof Manifest>
export type ManifestBody = z.infer<typeof Body>

const hashOf = (body: ManifestBody): string => createHash('sha256').update(canonicalJson(body)).digest('hex')

/** The manifest's text, with the hash over all it says. */
export function manifestText(body: ManifestBody): string {
  return `${JSON.stringify({ ...body, hash: hashOf(body) }, undefined, 2)}\n`
}

/** @throws AgentbusError AGENTBUS_BACKUP when there is none, or it is not whole */
export async function readManifest(folder: string): Promise<Manifest> {
  const file = path.join(folder, MANIFEST)
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) throw new AgentbusError('AGENTBUS_BACKUP', `${folder} holds no ${MANIFEST}: it is no backup, or one that did not come to its end.`)
  let read: unknown
  try {
    read = JSON.parse(text)
  } catch {
    throw new AgentbusError('AGENTBUS_BACKUP', `${file} is not JSON: it was damaged.`)
  }
  const format = read !== null && typeof read === 'object' && 'format' in read ? read.format : undefined
  if (format !== FORMAT) throw new AgentbusError('AGENTBUS_BACKUP', `${file} has the format ${JSON.stringify(format)}; this build reads ${JSON.stringify(FORMAT)}.`)
  const parsed = Manifest.safeParse(read)
  if (!parsed.success) throw new AgentbusError('AGENTBUS_BACKUP', `${file} is not whole: ${parsed.error.issues[0]?.path.join('.') ?? ''} is missing or wrong.`)
  const { hash, ...body } = parsed.data
  if (hashOf(body) !== hash) throw new AgentbusError('AGENTBUS_BACKUP', `${file} does not have the hash of what it says: it was changed.`)
  return parsed.data
}
