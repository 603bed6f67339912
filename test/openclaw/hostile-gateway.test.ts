import { getEventListeners } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { isStorableText } from '../../contracts/text.js'
import { aClient, anHttpServer, aPost, aTcpServer, bodies, gate, TOKEN } from './support.js'

const MALFORMED = { kind: 'undelivered', certain: false, reason: 'malformed answer', httpStatus: 200 }

describe('an answer that is no answer', () => {
  test.each([
    ['garbage', '<html>welcome</html>'],
    ['half of it', '{"ok":true,"runId":"r'],
    ['no runId', '{"ok":true}'],
    ['ok: false', '{"ok":false,"runId":"r"}'],
    ['an empty runId', '{"ok":true,"runId":""}'],
    ['a runId of 10,000 characters', JSON.stringify({ ok: true, runId: 'r'.repeat(10_000) })],
    ['a number', '7'],
    ['nothing', ''],
    ['brackets without end', '['.repeat(30_000) + ']'.repeat(30_000)],
    ['nesting that would overflow the stack', `{"ok":true,"runId":"r","x":${'[{"a":'.repeat(5_000)}1${'}]'.repeat(5_000)}}`],
    ['a completion of no known status', '{"ok":true,"runId":"r","completion":{"status":"perhaps"}}'],
  ])('is called malformed: %s', async (_what, body) => {
    const url = await anHttpServer((_request, response) => response.end(body))
    const client = aClient()

    expect(await client.admit(aPost(url))).toMatchObject(MALFORMED)
    expect(await client.join(aPost(url))).toEqual({ kind: 'broken', reason: 'malformed answer' })
  })

  test('is cut off at 64 KiB, however much would follow', async () => {
    const gone = gate()
    const url = await anHttpServer((_request, response) => {
      response.on('close', () => gone.open())
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(16_384)));
      }
      response.on('drain', more)
      more()
    })

    expect(await aClient().admit(aPost(url))).toMatchObject(MALFORMED)
    await gone.passed
  })

  test('is judged by its status when that says enough, whatever its body does', async () => {
    const url = await anHttpServer((request, response) => {
      response.writeHead(request.url === '/hooks/agent' ? 404 : 503)
      response.write('x'.repeat(100_000))
      response.socket?.end()
    })

    expect(await aClient().admit(aPost(url))).toMatchObject({ kind: 'refused', httpStatus: 404, reason: '404 an answer too large or too broken to read' })
  })

  test('ends at our deadline when its body never ends', async () => {
    const url = await anHttpServer((_request, response) => {
      response.writeHead(200).write('{"ok":true,')
    })
    const client = aClient()

    expect(await client.admit(aPost(url, { deadlineMs: 200 }))).toEqual({ kind: 'undelivered', certain: false, reason: 'no answer in time' })
    expect(await client.join(aPost(url, { deadlineMs: 200 }))).toEqual({ kind: 'deadline' })
    expect(await client.probe({ baseUrl: url, deadlineMs: 200 })).toEqual({ ready: false, reason: 'no answer in time' })
  })
})

describe('a connection that is reset', () => {
  test.each([
    ['before any answer', (): string => ''],
    ['in mid-header', (): string => 'HTTP/1.1 200 OK\r\nContent-'],
    ['in mid-body', (): string => 'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"ok":true'],
    ['after bytes that are not HTTP', (): string => 'hello, is anybody there?\r\n\r\n'],
  ])('leaves it open whether the run was admitted: %s', async (_what, answer) => {
    const url = await aTcpServer((socket) => {
      if (answer() === '') socket.resetAndDestroy()
      else socket.write(answer(), () => socket.end())
    })
    const client = aClient()

    expect(await client.admit(aPost(url))).toMatchObject({ kind: 'undelivered', certain: false })
    expect(await client.join(aPost(url))).toMatchObject({ kind: 'broken' })
  })

  test('of a kept connection is not answered by sending the post a second time', async () => {
    let posts = 0
    const url = await anHttpServer((request, response) => {
      posts += 1
      if (posts === 1) response.end('{"ok":true,"runId":"r"}')
      else request.socket.resetAndDestroy()
    })
    const client = aClient()
    await client.admit(aPost(url))

    expect(await client.admit(aPost(url))).toMatchObject({ kind: 'undelivered', certain: false })
    expect(posts).toBe(2)
  })
})

describe('what a gateway says', () => {
  test('is stored without the characters that no store can hold, and short', async () => {
    const said = { ok: false, error: `bad \u0000 and \ud800 ${'long '.repeat(1_000)}` }
    const url = await anHttpServer((_request, response) => response.writeHead(400).end(JSON.stringify(said)))

    const outcome = await aClient().admit(aPost(url))

    const kept = JSON.stringify(outcome)
    expect(outcome).toMatchObject({ kind: 'refused', reason: expect.stringMatching(/^400 bad \ufffd and \ufffd long .*\[cleaned by agentbus\]$/) })
    expect(isStorableText(kept) && !kept.includes('\\u0000') && !kept.includes('\\ud800')).toBe(true)
    expect(kept.length).toBeLessThan(2_000)
  })

  test('is kept with its unknown fields while they are small, and by its status when they are not', async () => {
    let extra: unknown = { 'seen\u0000': ['\udfff'] }
    const url = await anHttpServer((_request, response) => response.end(JSON.stringify({ ok: true, runId: 'r\u0000', completion: { status: 'ok', replyDisposition: 7, extra } })))
    const client = aClient()

    const small = await client.join(aPost(url))
    extra = Array.from({ length: 5_000 }, () => 'fifty')
    const large = await client.join(aPost(url))

    expect(small).toMatchObject({
      kind: 'completed',
      runId: 'r\ufffd [cleaned by agentbus]',
      completion: { status: 'ok', extra: { 'seen\ufffd [cleaned by agentbus]': ['\ufffd [cleaned by agentbus]'] } },
    })
    expect(large).toEqual({ kind: 'completed', runId: 'r\ufffd [cleaned by agentbus]', completion: { status: 'ok', note: expect.stringContaining('too large') } })
  })

  test('never carries our hook token into an outcome', async () => {
    const url = await anHttpServer((request, response) =>
      response.writeHead(400).end(JSON.stringify({ ok: false, error: `bad header ${request.headers.authorization ?? ''}`, headers: request.headers })),
    )

    const outcome = await aClient().admit(aPost(url))

    expect(outcome).toMatchObject({ kind: 'refused', reason: '400 bad header Bearer [hook token]' })
    expect(JSON.stringify(outcome)).not.toContain(TOKEN)
  })

  test("never carries the attempt's token into an outcome, though the gateway repeats the whole message", async () => {
    const token = `aat_${'x'.repeat(54)}`
    const echo = (request: IncomingMessage, status: number, response: ServerResponse): void => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => response.writeHead(status).end(JSON.stringify({ ok: status === 200, runId: 'r', error: 'no', echo: Buffer.concat(chunks).toString() })))
    }
    const [taking, refusing] = [await anHttpServer((request, response) => echo(request, 200, response)), await anHttpServer((request, response) => echo(request, 503, response))]
    const { admit: body } = bodies({ message: `AGENTBUS_TOKEN=${token} agentbus complete-job` })

    const outcomes = [await aClient().admit(aPost(taking, { body })), await aClient().admit(aPost(refusing, { body }))]

    expect(outcomes.map(({ kind }) => kind)).toEqual(['admitted', 'undelivered'])
    expect(JSON.stringify(outcomes)).toContain('AGENTBUS_TOKEN=[attempt token]')
    expect(JSON.stringify(outcomes)).not.toContain(token)
  })

  test.each([['https'], ['gateway']])('cannot send us elsewhere: a redirect to another %s is our mistake', async () => {
    const visits: string[] = []
    const elsewhere = await anHttpServer((request, response) => {
      visits.push(request.url ?? '')
      response.end('{"ok":true,"runId":"stolen"}')
    })
    const url = await anHttpServer((_request, response) => response.writeHead(307, { location: `${elsewhere}/hooks/agent` }).end())

    expect(await aClient().admit(aPost(url))).toMatchObject({ kind: 'refused', httpStatus: 307 })
    expect(await aClient().probe({ baseUrl: url, deadlineMs: 5_000 })).toEqual({ ready: false, reason: '/readyz answered 307' })
    expect(visits).toEqual([])
  })

  test.each([
    ['a huge uptime', '{"ready":true,"uptimeMs":1e300}'],
    ['a negative uptime', '{"ready":true,"uptimeMs":-1}'],
    ['an uptime in words', '{"ready":true,"uptimeMs":"long"}'],
    ['no uptime', '{"ready":true}'],
  ])('about its uptime is not believed, and no reason to call it down: %s', async (_what, body) => {
    const url = await anHttpServer((_request, response) => response.end(body))

    expect(await aClient().probe({ baseUrl: url, deadlineMs: 5_000 })).toEqual({ ready: true })
  })

  test('about being ready counts only with status 200 and in the right shape', async () => {
    const answers = ['{"ready":false,"failing":["x\\u0000"]}', '{"ready":"yes"}', 'ok']
    const url = await anHttpServer((_request, response) => response.end(answers.shift()))
    const client = aClient()
    const probe = () => client.probe({ baseUrl: url, deadlineMs: 5_000 })

    expect(await probe()).toEqual({ ready: false, reason: '/readyz answered 200: x\ufffd [cleaned by agentbus]' })
    expect(await probe()).toEqual({ ready: false, reason: '/readyz answered 200' })
    expect(await probe()).toEqual({ ready: false, reason: '/readyz answered 200' })
  })
})

test('a client that is closed ends what is under way, as broken and undelivered', async () => {
  const seen = gate()
  const url = await aTcpServer(() => seen.open())
  const client = aClient()
  const joining = client.join(aPost(url, { body: bodies().join }))
  await seen.passed

  await client.close()

  expect(await joining).toMatchObject({ kind: 'broken' })
  expect(await client.admit(aPost(url))).toMatchObject({ kind: 'undelivered', certain: true })
})

test('a post leaves no listener on a signal that lives as long as the process', async () => {
  const url = await anHttpServer((_request, response) => response.end('{"ok":true,"runId":"r"}'))
  const client = aClient()
  const stop = new AbortController()

  for (let n = 0; n < 20; n += 1) await client.admit(aPost(url, { signal: stop.signal }))

  expect(getEventListeners(stop.signal, 'abort')).toEqual([])
})
