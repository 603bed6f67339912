import { readFileSync } from 'node:fs'
import { AgentbusError } from '../contracts/errors.js'

/**
 * The text of the key that AGENTBUS_SIGNING_KEY refers to (`env:NAME`, `file:/path`).
 * @throws AgentbusError AGENTBUS_CONFIG when the variable or the file is missing or empty; the error names the reference, never a value
 */
export function readSigningKey(reference: string, env: Readonly<Record<string, string | undefined>>): string {
  const text = reference.startsWith('env:') ? env[reference.slice('env:'.length)] : readKeyFile(reference.slice('file:'.length))
  if (text === undefined || text.trim() === '') {
    throw new AgentbusError('AGENTBUS_CONFIG', `The signing key is not set: ${reference} (AGENTBUS_SIGNING_KEY) is missing or empty where this process runs.`, {
      signing_key: reference,
    })
  }
  return text
}

function readKeyFile(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
