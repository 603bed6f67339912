import { describe, expect, test } from 'vitest'
import { createLogger, lineWriter, type Logger } from '../../config/logger.js'
import { AgentbusError, messageOf } from '../../contracts/errors.js'

function aLogger(pretty = false): { log: Logger; text: () => string } {
  const lines: string[] = []
  return { log: createLogger({ level: 'info', pretty, destination: { write: (line: string) => void lines.push(line) } }), text: () => lines.join('') }
}

interface Refusing {
  /** What the first tries end with, in order; everything after them is taken. */
  readonly tries: readonly (string | number)[]
  readonly isTerminal?: boolean
}

/** A logger whose outlet refuses with a code, or takes no more than so many bytes. */
function aRefusedLogger({ tries, isTerminal = false }: Refusing): { log: Logger; text: () => string; tried: () => number } {
  let text = ''
  let tried = 0
  const write = (bytes: Uint8Array): number => {
    const end = tries[tried] ?? bytes.length
    tried += 1
    if (typeof end === 'string') throw Object.assign(new Error(end), { code: end })
    text += Buffer.from(bytes.subarray(0, end)).toString()
    return Math.min(end, bytes.length)
  }
  return { log: createLogger({ level: 'info', destination: lineWriter({ isTerminal, write }) }), text: () => text, tried: () => tried }
}

const messagesIn = (text: string): unknown[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { msg: unknown }).msg)

describe('logger', () => {
  test.each(['token', 'hook_token', 'attemptToken', 'Authorization', 'secret', 'PASSWORD', 'x-api-key', 'set-cookie'])('a field named %s is censored at any depth', (name) => {
    const { log, text } = aLogger()

    log.info({ [name]: 'hunter2', a: { b: [{ c: { d: { [name]: ['hunter2'] } } }] } }, 'x')
    log.child({ [name]: 'hunter2' }).info('y')

    expect(text()).not.toContain('hunter2')
    expect(text().match(/\[redacted\]/g)).toHaveLength(3)
  })

  test.each(['token_ref', 'tokens', 'hasToken'])('a field named %s is shown', (name) => {
    const { log, text } = aLogger()

    log.info({ [name]: name === 'hasToken' ? true : 'env:NAME' }, 'x')

    expect(text()).not.toContain('[redacted]')
  })

  test.each([false, true])('secrets in errors, messages and texts are censored (pretty: %s)', (pretty) => {
    const { log, text } = aLogger(pretty)
    const cause = new Error('connect redis://:hunter2@host failed')

    log.error({ err: new AgentbusError('AGENTBUS_CONFIG', 'sent Bearer hunter2', { deep: { password: 'hunter2' } }, { cause }) }, 'at postgres://me:hunter2@host/db')
    log.error(cause)

    expect(text()).not.toContain('hunter2')
    expect(text()).toContain('host/db')
    expect(text()).toContain('AgentbusError')
  })

  test.each([false, true])('tokens of agentbus are censored wherever they stand (pretty: %s)', (pretty) => {
    const { log, text } = aLogger(pretty)
    const tokens = [`abt_${'x'.repeat(43)}`, `aat_${'y'.repeat(54)}`]

    log.error({ err: new Error(`refused: ${tokens.join(' ')}`), path: `/v1/jobs/${tokens[0] ?? ''}` }, `said ${tokens[1] ?? ''}`)

    expect(text()).not.toMatch(/x{20}|y{20}/)
    expect(text()).toContain('aat_[redacted]')
  })

  test.each([false, true])('what others wrote begins no line and cannot steer a terminal (pretty: %s)', (pretty) => {
    const { log, text } = aLogger(pretty)
    const hostile = 'x\r\n12:00:00.000 ERROR forged\u001b[2J\u009b31m\u202e\u2028\u0007'

    log.warn({ event: 'a.b', said: hostile, err: messageOf(new Error(hostile)) }, hostile)

    expect(text().split('\n')).toHaveLength(2)
    expect(text().trimEnd()).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/)
    expect(text()).toContain('forged\\u001b[2J')
    log.error({ err: new Error(hostile) }, 'x')
    expect(text()).not.toMatch(/^12:00:00/m)
    if (!pretty) expect((JSON.parse(text().split('\n')[0] ?? '') as { said: string }).said).toBe(hostile)
  })

  test('what is below the level is not written', () => {
    const { log, text } = aLogger()

    log.debug('x')

    expect(text()).toBe('')
  })

  test('a circular field does not break the line', () => {
    const { log, text } = aLogger()
    const circle: Record<string, unknown> = {}
    circle['self'] = circle

    log.info({ circle }, 'x')

    expect(text()).toContain('too deep')
  })

  test('a line for people holds time, level, event and fields', () => {
    const { log, text } = aLogger(true)

    log.warn({ job: 'a', count: 3 }, 'relay.published')

    expect(text()).toMatch(/^\d\d:\d\d:\d\d\.\d{3} WARN {2}relay\.published job=a count=3\n$/)
  })
})

describe('a line that cannot be written', () => {
  test.each(['ENOSPC', 'EIO', 'EBADF', 'EFBIG'])('because of %s is left out, and those after it are written', (code) => {
    const { log, text } = aRefusedLogger({ tries: [code] })

    log.error('first')
    log.error('second')
    log.error('third')

    expect(messagesIn(text())).toEqual(['second', 'third'])
  })

  test.each([
    ['its pipe', 'EPIPE', false],
    ['its terminal', 'EIO', true],
  ])('because nobody reads %s any more is the last one that is tried', (_what, code, isTerminal) => {
    const { log, text, tried } = aRefusedLogger({ tries: [code], isTerminal })

    log.error('first')
    log.error('second')

    expect([tried(), text()]).toEqual([1, ''])
  })

  test('for a moment, because its reader is slow, is written all the same', () => {
    const { log, text, tried } = aRefusedLogger({ tries: ['EAGAIN', 10, 'EAGAIN', 10] })

    log.error('first')
    log.error('second')

    expect(messagesIn(text())).toEqual(['first', 'second'])
    expect(tried()).toBe(6)
  })

  test('to its end does not run into the next one', () => {
    const { log, text } = aRefusedLogger({ tries: [10, 'ENOSPC', 'ENOSPC'] })

    log.error('first')
    log.error('second')
    log.error('third')

    const [torn, ...rest] = text().split('\n')
    expect(torn).toHaveLength(10)
    expect(messagesIn(rest.join('\n'))).toEqual(['third'])
  })
})
