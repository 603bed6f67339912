import { readFileSync } from 'node:fs'
import { AgentbusError } from '../contracts/errors.js'

/** Reads what a token reference (`env:NAME`, `file:/path`, `simulator`) names. Files are read at each call, so that a token can be exchanged while running. */
export type ReadToken = (tokenRef: string) => string

/**
 * A reader over the given environment.
 * @throws AgentbusError AGENTBUS_CONFIG (from the reader) when the variable or the file is missing or empty; the error names the reference, never a value
 */
export function tokenReader(options: { readonly env: Readonly<Record<string, string | undefined>>; readonly simulatorToken: string; readonly what?: string }): ReadToken {
  const what = options.what ?? 'hook token'
  return (tokenRef) => {
    if (tokenRef === 'simulator') return options.simulatorToken
    const token = tokenRef.startsWith('env:') ? options.env[tokenRef.slice(4)] : readTokenFile(tokenRef)
    const trimmed = token?.trim() ?? ''
    if (trimmed === '') throw new AgentbusError('AGENTBUS_CONFIG', `The ${what} is not set: ${tokenRef} is missing or empty where this worker runs.`, { token_ref: tokenRef })
    if (!/^[\x21-\x7e]+$/.test(trimmed))
      throw new AgentbusError('AGENTBUS_CONFIG', `The ${what} in ${tokenRef} has characters that no HTTP header may carry.`, { token_ref: tokenRef })
    return trimmed
  }
}

function readTokenFile(tokenRef: string): string | undefined {
  try {
    return readFileSync(tokenRef.slice('file:'.length), 'utf8')
  } catch {
    return undefined
  }
}
