import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { WITHOUT_TOKEN, WRONG_TOKENS } from '../../api/auth.js'
import { ClientAddresses } from '../../api/client-address.js'
import { MAX_ADDRESSES, SignInThrottle } from '../../api/throttle.js'
import { loadSettings } from '../../config/settings.js'
import { startApi, type StartOptions, type TestApi } from '../api/support.js'

const from = (remoteAddress: string, forwarded?: string) => ({ socket: { remoteAddress }, headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } })

describe('clients are told apart', () => {
  test.each([
    ['by their address', '192.0.2.7', undefined, '192.0.2.7'],
    ['over IPv6 as over IPv4', '::ffff:192.0.2.7', undefined, '192.0.2.7'],
    ['over IPv6 as over IPv4, in hexadecimal', '::ffff:c000:207', undefined, '192.0.2.7'],
    ['by the /64 of IPv6', '2001:db8:1:2:3:4:5:6', undefined, '2001:db8:1:2::/64'],
    ['by the /64 of IPv6, shortened', '2001:db8::1', undefined, '2001:db8:0:0::/64'],
    ['by the /64 of IPv6, with a zone', 'fe80::1%eth0', undefined, 'fe80:0:0:0::/64'],
    ['not by what somebody says who is no proxy of ours', '192.0.2.7', '198.51.100.1', '192.0.2.7'],
    ['behind a proxy of ours by what it says', '10.0.0.1', '198.51.100.1', '198.51.100.1'],
    ['behind a proxy of ours on IPv6', 'fd00::1', '2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['behind several, by the last that is not ours', '10.0.0.1', '203.0.113.66, 198.51.100.1, 10.0.0.2', '198.51.100.1'],
    ['behind a proxy that says nothing, by the proxy', '10.0.0.1', undefined, '10.0.0.1'],
    ['behind a proxy that says nonsense, by the proxy', '10.0.0.1', '198.51.100.1, unknown', '10.0.0.1'],
  ])('%s', (_what, address, forwarded, counted) => {
    expect(new ClientAddresses(['10.0.0.0/8', 'fd00::/8']).of(from(address, forwarded))).toBe(counted)
  })

  test.each(['10.0.0.0/33', '10.0.0.0/8/8', 'proxy.example.org', '10.0.0.1,', 'fe80::1%eth0', '::/129'])('a trusted proxy %j is refused by the settings', (range) => {
    expect(() => loadSettings({ AGENTBUS_TRUSTED_PROXIES: range })).toThrow(/AGENTBUS_TRUSTED_PROXIES must be IP addresses or ranges/)
  })
})

test('of however many addresses, only so many are remembered, and those that go on are not forgotten', () => {
  const throttle = new SignInThrottle({ limit: 1, nowMs: () => 0 })
  throttle.fail('guesser')
  for (let at = 0; at < 3 * MAX_ADDRESSES; at += 1) {
    throttle.fail(`address ${at}`)
    if (at % 1_000 === 0) throttle.fail('guesser')
  }

  expect(throttle.size).toBe(MAX_ADDRESSES)
  expect(throttle.fail('guesser')).toBe(60)
})

describe('from one address', () => {
  let api: TestApi
  const started = async (options: StartOptions = {}): Promise<void> => {
    api = await startApi({
      ...options,
      mount: (app, requireOperator) => {
        app.use('/page', requireOperator, (_request, response) => void response.send('a page'))
      },
    })
  }
  beforeEach(() => started({ trustedProxies: ['127.0.0.1'] }))
  afterEach(() => api.close())

  const ask = (path: string, options: Parameters<TestApi['call']>[2] = {}) => api.call('GET', path, options)
  const basic = { authorization: `Basic ${Buffer.from('anna:guess').toString('base64')}` }

  test('wrong tokens at the API and at pages are counted together, and told when to come back; a right one works', async () => {
    for (let at = 0; at < WRONG_TOKENS; at += 1) await (at % 2 === 0 ? ask('/v1/jobs', { token: 'guess' }) : ask('/page', { headers: basic }))

    const answers = [await ask('/v1/jobs', { token: 'guess' }), await ask('/page', { headers: basic })]

    expect(answers.map(({ status, headers }) => [status, headers.get('retry-after')])).toEqual([
      [429, '60'],
      [429, '60'],
    ])
    expect((await api.operate('GET', '/v1/jobs')).status).toBe(200)
    expect((await ask('/page', { token: api.t.operatorToken })).status).toBe(200)
  })

  test('requests without any token are held up later, at the API and at pages, and never the probes', async () => {
    for (let at = 0; at < WITHOUT_TOKEN; at += 1) await ask(at % 2 === 0 ? '/v1/jobs' : '/page')

    const answers = [await ask('/v1/jobs'), await ask('/page')]

    expect(answers.map(({ status, headers }) => [status, headers.get('retry-after')])).toEqual([
      [429, '60'],
      [429, '60'],
    ])
    expect((await ask('/healthz')).status).toBe(200)
    api.clock.nowMs += 61_000
    expect((await ask('/v1/jobs')).status).toBe(401)
  })

  test('behind a trusted proxy each client is counted for itself; without that setting, all are one', async () => {
    const guess = async (client: string): Promise<number> => (await ask('/v1/jobs', { token: 'guess', headers: { 'x-forwarded-for': client } })).status
    for (let at = 0; at < WRONG_TOKENS; at += 1) await guess('198.51.100.1')

    const trusted = [await guess('198.51.100.1'), await guess('198.51.100.2')]
    await api.close()
    await started()
    for (let at = 0; at < WRONG_TOKENS; at += 1) await guess(`198.51.100.${at}`)
    const untrusted = await guess('203.0.113.1')

    expect([...trusted, untrusted]).toEqual([429, 401, 429])
  })
})

test('many that ask for readiness at once make the stores work once', async () => {
  const open: (() => void)[] = []
  const api = await startApi({ readiness: () => new Promise<string[]>((resolve) => open.push(() => resolve([]))) })
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
  let answers = ''
  socket.on('data', (chunk) => (answers += chunk.toString()))

  // In one packet, so that all are there before the first is answered.
  socket.write('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(20))
  await expect.poll(() => open.length).toBe(1)
  open[0]?.()

  await expect.poll(() => answers.split('HTTP/1.1 200 OK').length - 1).toBe(20)
  expect(open).toHaveLength(1)
  socket.destroy()
  await api.close()
})
