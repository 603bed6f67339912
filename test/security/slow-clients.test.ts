import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startApi, type TestApi } from '../api/support.js'
import { whereOf } from '../../cli/serve-api.js'
import { loadSettings } from '../../config/settings.js'

let api: TestApi
beforeAll(async () => {
  const settings = loadSettings({ AGENTBUS_PORT: '0', AGENTBUS_HEADERS_TIMEOUT_MS: '300', AGENTBUS_REQUEST_TIMEOUT_MS: '600' })
  api = await startApi({ where: whereOf(settings) })
})
afterAll(() => api.close())

interface Ended {
  /** All that the server sent before it closed the connection. */
  readonly answer: string
  readonly tookMs: number
  readonly sentBytes: number
}

/** A client that sends `first` at once and then a byte of `rest` every 20 ms, until the server has had enough. */
function sendSlowly(first: string, rest: string): Promise<Ended> {
  return new Promise((resolve) => {
    const begun = performance.now()
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
    let [answer, sentBytes] = ['', first.length]
    socket.write(first)
    const dripping = setInterval(() => {
      const byte = rest[sentBytes - first.length]
      if (byte === undefined || !socket.writable) return
      socket.write(byte)
      sentBytes += 1
    }, 20)
    socket.on('data', (chunk) => (answer += chunk.toString()))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      clearInterval(dripping)
      resolve({ answer, tookMs: performance.now() - begun, sentBytes })
    })
  })
}

const HEAD = (): string => `POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.t.operatorToken}\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n`

describe('a slow client', () => {
  test.each([
    ['sends its headers byte by byte', () => 'GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ', 'x'.repeat(5_000)],
    ['sends part of its headers and stops', () => 'GET /healthz HTTP/1.1\r\nHost: x\r\n', ''],
    ['says nothing of its body after the headers', HEAD, ''],
    ['sends its body byte by byte', () => `${HEAD()}{"subject": "`, 'x'.repeat(5_000)],
  ])('that %s is ended by the timeouts of the settings, and holds nobody up', async (_what, first, rest) => {
    const before = await api.count('jobs')

    const slow = sendSlowly(first(), rest)
    const meanwhile = await api.operate('GET', '/v1/jobs')
    const { answer, tookMs, sentBytes } = await slow

    expect(meanwhile.status).toBe(200)
    expect(answer).toMatch(/^HTTP\/1\.1 408 /)
    expect(tookMs).toBeGreaterThanOrEqual(280)
    expect(tookMs).toBeLessThan(10_000)
    expect(sentBytes).toBeLessThan(first().length + 5_000)
    expect(await api.count('jobs')).toBe(before)
  })
})

test('headers may not take longer than the whole request', () => {
  expect(() => loadSettings({ AGENTBUS_HEADERS_TIMEOUT_MS: '600', AGENTBUS_REQUEST_TIMEOUT_MS: '300' })).toThrow(
    /AGENTBUS_HEADERS_TIMEOUT_MS must be at most AGENTBUS_REQUEST_TIMEOUT_MS/,
  )
})
