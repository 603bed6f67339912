import { describe, expect, test } from 'vitest'
import { createLogger, type Logger } from '../../config/logger.js'
import { AgentbusError } from '../../contracts/errors.js'

function aLogger(pretty = false): { log: Logger; text: () => string } {
  const lines: string[] = []
  return { log: createLogger({ level: 'info', pretty, destination: { write: (line: string) => void lines.push(line) } }), text: () => lines.join('') }
}

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
