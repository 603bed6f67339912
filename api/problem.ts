import { z } from 'zod'
import { AgentbusError, ERRORS, type ErrorCode } from '../contracts/errors.js'
import { LIMITS } from '../contracts/request-limits.js'

/** A problem document (RFC 9457) with a stable code, what to do next, and, for bad input, every fault with its place. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    /** The request id, by which the log is searched. */
    instance: z.string(),
    next: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .catchall(z.unknown())
  .meta({ id: 'Problem' })
export type Problem = z.infer<typeof Problem>

/** Every fault of a request, told at once. */
export class InvalidRequestError extends AgentbusError {
  readonly faults: readonly { path: string; message: string }[]

  constructor(error: z.ZodError, where: string) {
    const faults = error.issues.map((issue) => ({ path: [where, ...issue.path.map(String)].join('.'), message: issue.message }))
    const onlyText = faults.every((fault) => /U\+0000|lone surrogate/.test(fault.message))
    const first = faults[0]
    super(onlyText ? 'AGENTBUS_UNSTORABLE_TEXT' : 'AGENTBUS_BAD_REQUEST', first === undefined ? 'The request is not valid.' : `${first.path}: ${first.message}`)
    this.faults = faults
  }
}

/** The one mapping of errors to HTTP. Whatever is not known is a 500 that tells nothing but the request id. */
export function problemOf(error: unknown, requestId: string): Problem {
  if (error instanceof AgentbusError) {
    return {
      ...error.fields,
      ...head(error.code, requestId),
      detail: error.message,
      ...(error instanceof InvalidRequestError ? { errors: [...error.faults] } : {}),
    }
  }
  const code = codeOfParser(error)
  if (code !== undefined) return { ...head(code.code, requestId), detail: code.detail }
  return { ...head('AGENTBUS_INTERNAL', requestId), detail: 'The request failed inside agentbus.' }
}

function head(code: ErrorCode, requestId: string): Pick<Problem, 'type' | 'title' | 'status' | 'code' | 'instance' | 'next'> {
  const { status, title, next } = ERRORS[code]
  return { type: `/v1/errors#${code}`, title, status, code, instance: requestId, next }
}

/** What the body parser's check of the bytes names its error. */
export const NOT_UTF8 = 'body.not-utf-8'

function limitOf(error: unknown): number {
  const limit = error instanceof Error && 'limit' in error && typeof error.limit === 'number' ? error.limit : LIMITS.bodyBytes
  return Math.floor(limit / 1024)
}

/** Faults that Express and its body parser raise before any handler runs. */
function codeOfParser(error: unknown): { code: ErrorCode; detail: string } | undefined {
  if (error instanceof URIError) return { code: 'AGENTBUS_BAD_REQUEST', detail: 'The path is not correctly percent-encoded.' }
  const type = error instanceof Error && 'type' in error ? String(error.type) : ''
  switch (type) {
    case 'entity.parse.failed':
      return { code: 'AGENTBUS_BAD_REQUEST', detail: 'The body is not valid JSON.' }
    case 'entity.too.large':
      return { code: 'AGENTBUS_TOO_LARGE', detail: `The body is larger than ${limitOf(error)} KiB.` }
    case NOT_UTF8:
      return { code: 'AGENTBUS_UNSTORABLE_TEXT', detail: 'The body is not valid UTF-8.' }
    case 'encoding.unsupported':
    case 'charset.unsupported':
      return { code: 'AGENTBUS_UNSUPPORTED_MEDIA_TYPE', detail: 'Send the body uncompressed, as JSON in UTF-8.' }
    case 'request.aborted':
    case 'request.size.invalid':
      return { code: 'AGENTBUS_BAD_REQUEST', detail: 'The body did not arrive whole.' }
    default:
      return undefined
  }
}
