import { readFile } from 'node:fs/promises'
import type { Settings } from '../config/settings.js'
import { readSigningKey } from '../config/signing-key.js'
import { messageOf } from '../contracts/errors.js'
import { signatureChecks, signerOf, type SignatureCheck } from '../ledger/audit/signing.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import { oneLine } from './printable.js'
import type { ServerIo } from './server-commands.js'

/**
 * The keys that checkpoints may be signed with: those of a PEM file that was named, and the public part of this process's own
 * signing key. None of both: none.
 * @throws CliError when the file cannot be read, AgentbusError AGENTBUS_CONFIG when one of them holds no Ed25519 key
 */
export async function publicKeys(settings: Settings, env: ServerIo['env'], file: string | undefined): Promise<SignatureCheck[]> {
  const own = settings.signingKey === undefined ? [] : signatureChecks(signerOf(readSigningKey(settings.signingKey, env)).publicKeyPem)
  if (file === undefined) return own
  const pem = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new CliError(`--public-key: ${oneLine(messageOf(error))}`, EXIT.usage)
  })
  return [...own, ...signatureChecks(pem)]
}
