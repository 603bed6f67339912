import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { z } from 'zod'

/*
 * From the text of an environment variable to a value. Every message completes the sentence "<NAME> ..."
 * and none quotes the text: what was meant as a token may stand in the wrong variable.
 */

type Refuse = (message: string) => never

/** A schema from text to `T`; `refuse` ends the parse with a fault. */
function parser<T>(parse: (text: string, refuse: Refuse) => T): z.ZodType<T, string> {
  return z.string().transform((text, ctx) => {
    try {
      return parse(text, (message) => {
        throw new Refused(message)
      })
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      ctx.addIssue({ code: 'custom', message: error.message })
      return z.NEVER
    }
  })
}

class Refused extends Error {}

/** A whole number in plain decimal digits: no sign, no exponent, no leading zero, no unit. */
export function whole(min: number, max: number): z.ZodType<number, string> {
  return parser((text, refuse) => {
    const value = Number(text)
    if (!/^(0|[1-9][0-9]{0,15})$/.test(text) || value < min || value > max) return refuse(`must be a whole number from ${min} to ${max}`)
    return value
  })
}

export const yesNo: z.ZodType<boolean, string> = parser((text, refuse) => {
  if (text === 'true') return true
  if (text === 'false') return false
  return refuse("must be 'true' or 'false'")
})

export function oneOf<const T extends string>(words: readonly T[]): z.ZodType<T, string> {
  return parser((text, refuse) => words.find((word) => word === text) ?? refuse(`must be one of ${words.join(', ')}`))
}

/** Addresses and ranges of them (`10.0.0.0/8`), separated by commas. */
export const addressRanges: z.ZodType<readonly string[], string> = parser((text, refuse) => {
  const ranges = text.split(',').map((part) => part.trim())
  const isRange = (range: string): boolean => {
    const [address = '', prefix, ...rest] = range.split('/')
    const bits = isIP(address) === 6 ? 128 : 32
    return isIP(address) !== 0 && !address.includes('%') && rest.length === 0 && (prefix === undefined || (/^(0|[1-9][0-9]{0,2})$/.test(prefix) && Number(prefix) <= bits))
  }
  return ranges.every(isRange) ? ranges : refuse('must be IP addresses or ranges such as 10.0.0.0/8, separated by commas')
})

/** Text that matches a whole pattern; `rule` says it in words. */
export function matching(pattern: RegExp, rule: string): z.ZodType<string, string> {
  return parser((text, refuse) => (pattern.test(text) ? text : refuse(rule)))
}

/** A path, made absolute against the current folder. */
export const path: z.ZodType<string, string> = parser((text, refuse) => {
  if (text.includes('\0')) return refuse('must be a path without U+0000')
  return resolve(text)
})

export const listenHost: z.ZodType<string, string> = parser((text, refuse) => {
  if (isIP(text) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(text)) return text
  return refuse('must be a host name or an IP address, without a port')
})

/** An http or https URL without user, password, query and fragment; the slash at its end is dropped. */
export const httpUrl: z.ZodType<string, string> = parser((text, refuse) => {
  const url = urlOf(text)
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) return refuse('must be a URL that starts with http:// or https://')
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return refuse('must carry no user, password, query or fragment')
  return url.href.replace(/\/+$/, '')
})

const HEADER_PAIRS = /^[A-Za-z0-9-]+=([\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)(,[A-Za-z0-9-]+=([\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*))*$/

/** Headers as OpenTelemetry has them: `name=value,name=value`, percent-encoded. */
export const headerPairs: z.ZodType<string, string> = parser((text, refuse) =>
  HEADER_PAIRS.test(text) && isEncoded(text) ? text : refuse('must be name=value pairs, percent-encoded and separated by commas'),
)

const ENCODE = 'percent-encode special characters in the user and password'

export const postgresUrl: z.ZodType<string, string> = parser((text, refuse) => {
  if (!/^postgres(ql)?:\/\//.test(text)) return refuse('must be a URL that starts with postgres:// or postgresql://')
  const url = urlOf(text)
  if (url === undefined || !isDecodable(url)) return refuse(`must be a well-formed URL; ${ENCODE}`)
  if (url.hostname === '' && !url.searchParams.has('host')) return refuse('must name a host')
  if (url.hostname.includes(',')) return refuse('must name one host: the driver does not take a list')
  if (url.hash !== '') return refuse(`must carry no fragment; ${ENCODE}`)
  return text
})

export const redisUrl: z.ZodType<string, string> = parser((text, refuse) => {
  if (!/^rediss?:\/\//.test(text)) return refuse('must be a URL that starts with redis:// or rediss://')
  const url = urlOf(text)
  if (url === undefined || !isDecodable(url)) return refuse(`must be a well-formed URL; ${ENCODE}`)
  if (url.hostname === '') return refuse('must name a host')
  if (!/^(\/[0-9]{0,4})?$/.test(url.pathname)) return refuse('must end in a database number, or in none')
  if (url.hash !== '') return refuse(`must carry no fragment; ${ENCODE}`)
  return text
})

function urlOf(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}

function isDecodable(url: URL): boolean {
  return [url.username, url.password, url.pathname].every(isEncoded)
}

/** Whether every percent sign begins the code of a character. */
function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
