import { writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { pino, stdSerializers, type DestinationStream, type Logger } from 'pino'
import type { Settings } from './settings.js'

export type { Logger }

const CENSOR = '[redacted]'
const SECRET_NAMES = ['authorization', 'token', 'secret', 'password', 'passwd', 'apikey', 'cookie', 'requirepass']
const DEEPEST = 8

/**
 * A logger to standard error, which leaves standard output to the commands. The field `event` names what happened
 * (`queue.rebuilt`) and is documented; the message is for people and may change. Values under a name that ends in token, secret, password,
 * authorization and the like are censored at any depth; so are passwords in URLs and bearer tokens
 * anywhere in the line, because drivers put them into their messages. No call of it throws: a line that cannot be written is left out.
 */
export function createLogger({ level, pretty = false, destination }: { level: Settings['logLevel']; pretty?: boolean; destination?: DestinationStream }): Logger {
  const out = destination ?? standardError()
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => censored(fields) as Record<string, unknown>,
      },
      serializers: { err: (error: unknown) => error },
      hooks: { streamWrite: (line) => safeLine(censoredText(line)) },
    },
    pretty ? { write: (line: string) => out.write(prettyLine(line)) } : out,
  )
  // pino does not pass the bindings of a child through `formatters.bindings`; children inherit this method.
  const makeChild = logger.child
  logger.child = function childWithoutSecrets(this: Logger, bindings: object, options?: object) {
    return makeChild.call(this, censored(bindings) as object, options)
  } as typeof logger.child
  return logger
}

/** Where lines go to. */
export interface Outlet {
  readonly isTerminal: boolean
  /** @returns how many of the bytes were taken. @throws as fs.writeSync */
  write(bytes: Uint8Array): number
}

const STANDARD_ERROR = 2

/** Between two tries while the reader of a pipe is slow, in milliseconds. */
const BUSY_MS = 20
const nothing = new Int32Array(new SharedArrayBuffer(4))

function standardError(): DestinationStream {
  // Asked at the start: a terminal that is gone does not say any more that it is one.
  return lineWriter({ isTerminal: isatty(STANDARD_ERROR), write: (bytes) => writeSync(STANDARD_ERROR, bytes) })
}

/**
 * Writes each line at once and never throws: a disk that is full for the moment must not end a process, least of all one that is putting
 * its stores in order. pino's own destination keeps what it could not write, without a limit. When nobody reads any more, because the pipe
 * or the terminal was closed, no further line is tried.
 */
export function lineWriter(outlet: Outlet): DestinationStream {
  let isMute = false
  /** Part of the last line got out: the next one must not go on in it. */
  let isTorn = false
  return {
    write(line) {
      if (isMute) return
      const bytes = Buffer.from(isTorn ? `\n${line}` : line)
      let written = 0
      try {
        while (written < bytes.length) written += writeSome(outlet, bytes.subarray(written))
        isTorn = false
      } catch (error) {
        isTorn ||= written > 0
        const code = codeOf(error)
        isMute = code === 'EPIPE' || (code === 'EIO' && outlet.isTerminal)
      }
    },
  }
}

/** A slow reader is waited for, as pino does: the order of the lines is kept, and none is left out. */
function writeSome(outlet: Outlet, bytes: Uint8Array): number {
  try {
    return outlet.write(bytes)
  } catch (error) {
    if (codeOf(error) !== 'EAGAIN') throw error
    Atomics.wait(nothing, 0, 0, BUSY_MS)
    return 0
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

/** Censors passwords in URLs, bearer tokens, and tokens of agentbus in any text. */
export function censoredText(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:@/"]*):[^\s@/"]+@/gi, `$1:${CENSOR}@`)
    .replace(/\b(Bearer)\s+[A-Za-z0-9._~+/=-]+/gi, `$1 ${CENSOR}`)
    .replace(/(?<![A-Za-z0-9])(aat|abt)_[A-Za-z0-9_-]{20,}/g, `$1_${CENSOR}`)
}

/** What could steer the terminal of whoever reads a log, or begin a line that nobody logged: controls and overrides of direction. */
const STEERING = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** In JSON such characters stand inside of strings only, where an escape is the same text; the line end is the one that is meant. */
function safeLine(line: string): string {
  return `${escaped(line.replace(/\n$/, ''))}\n`
}

function escaped(text: string): string {
  return text.replace(STEERING, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function isSecretName(name: string): boolean {
  const plain = name.toLowerCase().replaceAll(/[-_]/g, '')
  return SECRET_NAMES.some((secret) => plain.endsWith(secret))
}

function censored(value: unknown, depth = 0): unknown {
  if (value === null || typeof value !== 'object') return value
  if (depth > DEEPEST) return '[too deep]'
  if (value instanceof Error) return censored({ ...stdSerializers.err(value) }, depth)
  if (value instanceof Date || value instanceof Uint8Array) return value instanceof Date ? value : `[${value.length} bytes]`
  if (Array.isArray(value)) return value.map((item) => censored(item, depth + 1))
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, censoredField(name, item, depth)]))
}

function censoredField(name: string, item: unknown, depth: number): unknown {
  const holdsNothing = item === undefined || item === null || typeof item === 'boolean'
  return isSecretName(name) && !holdsNothing ? CENSOR : censored(item, depth + 1)
}

/** `12:00:00.000 INFO  relay.published job=... count=3`; a line that is not JSON passes unchanged. */
function prettyLine(line: string): string {
  try {
    const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
    const stack = stackOf(fields['err'])
    const words = Object.entries(fields).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    return `${escaped([String(time).slice(11, 23), String(level).toUpperCase().padEnd(5), String(msg ?? ''), ...words].join(' '))}\n${stack}`
  } catch {
    return line
  }
}

function stackOf(error: unknown): string {
  if (error === null || typeof error !== 'object' || !('stack' in error)) return ''
  const { stack } = error
  delete (error as { stack?: unknown }).stack
  // Indented: a message of several lines must not pass for lines of the log.
  return String(stack)
    .split('\n')
    .map((line) => `    ${escaped(line)}\n`)
    .join('')
}
