import { z } from 'zod'
import { isStorableText } from './text.js'

const UNSTORABLE = 'contains U+0000 or a lone surrogate, which no store can hold'

/**
 * Where a hook token is found: `env:NAME` or `file:/path`. The token itself never enters the ledger.
 * `simulator` names the built-in gateway simulator, whose token is made at start.
 */
export const TokenRef = z
  .string()
  .regex(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:\S+|simulator)$/, 'env:NAME or file:/path; never the token itself')
  .refine(isStorableText, UNSTORABLE)

/** Where any other secret is found. */
export const SecretRef = z
  .string()
  .regex(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:\/\S+)$/, 'env:NAME or file:/path; never the secret itself')
  .refine(isStorableText, UNSTORABLE)

export const HttpUrl = z
  .url({ protocol: /^https?$/ })
  .refine(isStorableText, UNSTORABLE)
  .refine((text) => {
    const url = new URL(text)
    return url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  }, 'must carry no user, password, query or fragment')
