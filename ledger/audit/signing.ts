import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto'
import { AgentbusError } from '../../contracts/errors.js'

/** Signs checkpoints; the key itself stays inside. */
export interface Signer {
  readonly keyId: string
  readonly publicKeyPem: string
  sign(hash: Buffer): Buffer
}

/** Checks signatures of one key. */
export interface SignatureCheck {
  readonly keyId: string
  verify(hash: Buffer, signature: Buffer): boolean
}

/**
 * A signer with a private Ed25519 key in PEM (PKCS 8), as `openssl genpkey -algorithm ed25519` writes it.
 * @throws AgentbusError AGENTBUS_CONFIG when it is none; the key is not repeated
 */
export function signerOf(pem: string): Signer {
  const key = ed25519(() => createPrivateKey(pem), 'AGENTBUS_SIGNING_KEY does not name a private Ed25519 key in PEM; make one with `openssl genpkey -algorithm ed25519`.')
  const publicKey = createPublicKey(key)
  return { keyId: keyIdOf(publicKey), publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(), sign: (hash) => sign(null, hash, key) }
}

/** Checks for each public key in a PEM text. @throws AgentbusError AGENTBUS_CONFIG when there is none, or one of another kind */
export function signatureChecks(pem: string): SignatureCheck[] {
  const parts = pem.match(/-----BEGIN PUBLIC KEY-----[\s\S]*?-----END PUBLIC KEY-----/g) ?? []
  if (parts.length === 0) throw new AgentbusError('AGENTBUS_CONFIG', 'There is no public key in PEM in it; `agentbus checkpoint --public-key` prints one.')
  return parts.map((part) => {
    const key = ed25519(() => createPublicKey(part), 'A public key in it is no Ed25519 key.')
    return { keyId: keyIdOf(key), verify: (hash, signature) => verify(null, hash, key, signature) }
  })
}

function ed25519(read: () => KeyObject, otherwise: string): KeyObject {
  let key: KeyObject | undefined
  try {
    key = read()
  } catch {
    // What the parser says may quote the input.
  }
  if (key?.asymmetricKeyType !== 'ed25519') throw new AgentbusError('AGENTBUS_CONFIG', otherwise)
  return key
}

function keyIdOf(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
    .slice(0, 16)
}
