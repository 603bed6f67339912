import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { EmitEventBody } from '../../contracts/events.js'
import { clip, html } from '../../board/console/html.js'
import { LONGEST_MARK, markOf, marksOf } from '../../board/console/marks.js'
import { MinuteMarks } from '../../board/console/minute-marks.js'
import { causeOf } from '../../ledger/console/dead-letters.js'
import { serveConsole, type TestConsole } from '../support/console.js'
import { aJob, freshLedger, OPERATOR } from '../support/ledger.js'

let c: Omit<TestConsole, 'waits'>
const open: AbortController[] = []
beforeEach(async () => {
  c = await serveConsole(await freshLedger())
})
afterEach(async () => {
  for (const one of open.splice(0)) one.abort()
  await c.close()
})

interface Stream {
  readonly status: number
  /** The next block of the stream that fits. */
  next(wanted: RegExp): Promise<string>
}

async function stream(query = '', headers: Record<string, string> = {}): Promise<Stream> {
  const abort = new AbortController()
  open.push(abort)
  const answer = await fetch(`${c.url}/console/live${query}`, { headers: { authorization: `Bearer ${c.token}`, ...headers }, signal: abort.signal })
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
  let held = ''
  return {
    status: answer.status,
    next: async (wanted) => {
      for (;;) {
        const end = held.indexOf('\n\n')
        if (end >= 0) {
          const block = held.slice(0, end)
          held = held.slice(end + 2)
          if (wanted.test(block)) return block
          continue
        }
        const { value, done } = (await reader?.read()) ?? { value: undefined, done: true }
        if (done) throw new Error(`the stream ended before ${String(wanted)}`)
        held += value ?? ''
      }
    },
  }
}

const idOf = (block: string): string => /^id: (.*)$/m.exec(block)?.[1] ?? ''
const emit = (topic: string): Promise<unknown> => c.t.ledger.jobs.emit(OPERATOR, EmitEventBody.parse({ topic, payload: {} }))

describe('the stream of a page', () => {
  test('says that something has changed, and whoever comes again hears at once what was missed', async () => {
    const first = await stream()
    const hello = await first.next(/event: hello/)

    await aJob(c.t.ledger, 'queued')
    const changed = await first.next(/event: changed/)
    const missed = await stream('', { 'last-event-id': idOf(hello) })
    const nothing = await stream('', { 'last-event-id': idOf(changed) })

    expect(await missed.next(/event:/)).toContain('event: changed')
    expect(await nothing.next(/event:/)).toContain('event: hello')
  })

  test('tells the events of its topic, once each, and those from before when it goes on', async () => {
    const tail = await stream('?tail=1&topic=a.*')
    const hello = await tail.next(/event: hello/)
    await emit('a.one')
    await emit('b.two')
    await emit('a.three')

    const [one, three] = [await tail.next(/event: happened/), await tail.next(/event: happened/)]
    const again = await stream('?tail=1&topic=a.*', { 'last-event-id': idOf(hello) })

    expect([one.includes('a.one'), three.includes('a.three')]).toEqual([true, true])
    expect(await again.next(/event: happened/)).toContain('a.one')
  })

  /** The stream that a page of events asks for when it is there. */
  const streamOf = async (query: string): Promise<string> => {
    const page = await (await fetch(`${c.url}/console/events${query}`, { headers: { authorization: `Bearer ${c.token}` } })).text()
    return `?${/data-stream="([^"]*)"/.exec(page)?.[1]?.replaceAll('&amp;', '&') ?? ''}`
  }
  /** The topics that a tail tells, up to this one. */
  const told = async (tail: Stream, last: string): Promise<string[]> => {
    const topics: string[] = []
    while (topics.at(-1) !== last) topics.push(/<bdi>(a\.[a-z]+)<\/bdi>/.exec(await tail.next(/event: (happened[\s\S]*<bdi>a\.|gap)/))?.[1] ?? 'gap')
    return topics
  }

  test.each(['', '?topic=a.*'])('tells what happened between the page of events%s and its stream', async (query) => {
    await emit('a.before')
    const asked = await streamOf(query)
    await emit('a.between')

    const tail = await stream(asked)
    await emit('a.after')

    expect(await tail.next(/event:/)).toContain('event: changed')
    expect((await told(tail, 'a.after')).slice(-2)).toEqual(['a.between', 'a.after'])
  })

  test('says nothing of a change, and of no gap, when nothing happened since the page, however rare its topic', async () => {
    await emit('a.rare')
    await c.t.database.pool.query(`insert into events (namespace, topic, payload, created_by) select 'default', 'b.often', '{}', 'operator:x' from generate_series(1, 400)`)
    const asked = await streamOf('?topic=a.*')

    const tail = await stream(asked)
    const hello = await tail.next(/event:/)
    await emit('a.after')

    expect(hello).toContain('event: hello')
    expect(await told(tail, 'a.after')).toEqual(['a.after'])
  })

  test('tells all of a burst, however large, and goes on', async () => {
    const tail = await stream('?tail=1&topic=a.*')
    await tail.next(/event: hello/)
    await c.t.database.pool.query(
      `insert into events (namespace, topic, payload, created_by) select 'default', 'a.burst', jsonb_build_object('text', repeat('x', 2000)), 'operator:x' from generate_series(1, 200)`,
    )

    const topics: unknown[] = []
    for (let n = 0; n < 200; n += 1) topics.push(/<bdi>(a\.[a-z]+)<\/bdi>/.exec(await tail.next(/event: (happened|gap)/))?.[1])
    await emit('a.after')

    expect(topics).toEqual(Array(200).fill('a.burst'))
    expect(await tail.next(/event: (happened|gap)/)).toContain('a.after')
  })

  test('one page too many is refused, and told when to come back', async () => {
    const streams = await Promise.all(Array.from({ length: 8 }, () => stream()))

    const ninth = await fetch(`${c.url}/console/live`, { headers: { authorization: `Bearer ${c.token}`, accept: 'application/json' } })

    expect(streams.map(({ status }) => status)).toEqual(Array(8).fill(200))
    expect([ninth.status, ninth.headers.get('retry-after')]).toEqual([429, '30'])
    open.splice(0, 1).forEach((one) => one.abort())
    await expect.poll(async () => (await stream()).status, { interval: 100 }).toBe(200)
  })

  test('a limit holds for pages that come at the same moment, too', async () => {
    const reads = c.t.ledger.console
    const { pulse } = reads
    let asked = 0
    let answer: () => void = () => undefined
    const allHaveAsked = new Promise<void>((resolve) => (answer = resolve))
    reads.pulse = async () => {
      asked += 1
      if (asked === 12) answer()
      await allHaveAsked
      return pulse()
    }

    const streams = await Promise.all(Array.from({ length: 12 }, () => stream()))

    expect(streams.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([...Array<number>(8).fill(200), ...Array<number>(4).fill(429)])
  })
})

describe('a form', () => {
  const post = (name: string, body: Record<string, string>, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${c.url}/console/actions/${name}`, {
      method: 'POST',
      body: new URLSearchParams(body),
      headers: { authorization: `Bearer ${c.token}`, accept: 'application/json', ...headers },
    })

  test.each([
    ['no such action', 'nothing', {}, 404],
    ['no key', 'cancel', { reason: 'because' }, 400],
    ['no reason', 'cancel', { key: '0192f0c4-1111-4000-8000-00000000000a', reason: '' }, 400],
    ['no id', 'cancel', { key: '0192f0c4-1111-4000-8000-00000000000a', reason: 'because', id: 'x' }, 400],
    [
      'an answer that is broken JSON',
      'unblock',
      { key: '0192f0c4-1111-4000-8000-00000000000a', reason: 'because', id: '0192f0c4-1111-7000-8000-00000000000a', answer: '{"a":' },
      400,
    ],
    ['nothing chosen', 'dead-letters', { key: '0192f0c4-1111-4000-8000-00000000000a', reason: 'because', what: 'bury' }, 400],
    ['an end that is no number', 'stop', { key: '0192f0c4-1111-4000-8000-00000000000a', reason: 'because', what: 'pause everything', for_seconds: 'x' }, 400],
  ])('with %s is refused as a problem document, and nothing is changed', async (_name, action, body, status) => {
    const answer = await post(action, body)

    expect(answer.status).toBe(status)
    expect(answer.headers.get('content-type')).toContain('application/problem+json')
    expect(await answer.json()).toMatchObject({ status })
    expect(await c.t.ledger.listControls()).toEqual([])
  })

  test('without a script it is answered with a page', async () => {
    const { id } = await aJob(c.t.ledger, 'queued')

    const answer = await post('cancel', { id, reason: 'not needed', key: crypto.randomUUID() }, { accept: 'text/html' })

    expect(answer.headers.get('content-type')).toContain('text/html')
    expect(await answer.text()).toContain('is cancelled.')
    expect((await c.t.ledger.getJob(id)).status).toBe('cancelled')
  })

  test('that is too large is refused', async () => {
    expect((await post('cancel', { reason: 'x'.repeat(300_000) })).status).toBe(413)
  })
})

test('what a person looked at is written down once a minute, whatever the request says of itself', async () => {
  let nowMs = Date.parse('2026-11-21T10:00:30Z')
  const own = await serveConsole(await freshLedger({ nowMs: () => nowMs }))
  const { id } = await aJob(own.t.ledger, 'queued')
  const look = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(own.url + path, { headers: { authorization: `Bearer ${own.token}`, ...headers } })

  await look(`/console/jobs/${id}`, { 'x-console': 'refresh' })
  await look(`/console/jobs/${id}`)
  await look(`/console/jobs/${id}?attempt=1`)
  await look(`/console/jobs/${id}?attempt=1&of=mine`, { 'x-console': 'refresh' })
  await look('/console/jobs?q=needle')
  nowMs += 60_000
  await look(`/console/jobs/${id}`)
  await own.t.ledger.accesses.flush()

  const { rows } = await own.t.database.pool.query(`select actor_kind, actor, route, job_id, target from accesses order by id`)
  const read = { actor_kind: 'board', actor: 'anna', route: '/console/jobs/:id', job_id: id }
  expect(rows).toEqual([
    { ...read, target: { id } },
    { ...read, target: { id, attempt: 1 } },
    { ...read, route: '/console/jobs', job_id: null, target: {} },
    { ...read, target: { id } },
  ])
  await own.close()
})

test('what is remembered of a minute has a limit, and ends with it', () => {
  const marks = new MinuteMarks({ most: 2 })

  const inOne = ['a', 'b', 'c', 'c', 'a'].map((key) => marks.isFirst(key, 59_999))
  const held = marks.size
  const inNext = ['a', 'a'].map((key) => marks.isFirst(key, 60_000))

  // Beyond the limit nothing is left out: it is said again.
  expect(inOne).toEqual([true, true, true, true, false])
  expect(held).toBe(2)
  expect([inNext, marks.size]).toEqual([[true, false], 1])
})

test('a mark is read back as it was made, and anything else is none', () => {
  const pulse = { moves: '1', events: '22', observed: '333', agents: '4', controls: '5', alerts: '1763719200000000' }

  const mark = markOf({ pulse, floor: '17' })

  expect(marksOf(mark)).toEqual({ pulse, floor: '17' })
  expect(mark.length).toBeLessThan(LONGEST_MARK)
  expect([undefined, '', '0.0.0.0.17', `${mark}.1`, mark.replace('22', ''), mark.replace('22', 'x'), mark.replace('22', '9'.repeat(19))].map((text) => marksOf(text))).toEqual(
    Array(7).fill(undefined),
  )
})

test('every value in a page is escaped, and what cannot be seen is written out', () => {
  const hostile = `"><script>'&\u202e\u0007`

  expect(html`<a title="${hostile}">${[hostile, null, 7]}</a>`.text).toBe(
    '<a title="&quot;&gt;&lt;script&gt;&#39;&amp;⟨U+202E⟩⟨U+0007⟩">&quot;&gt;&lt;script&gt;&#39;&amp;⟨U+202E⟩⟨U+0007⟩7</a>',
  )
  expect(clip('😀'.repeat(10), 5)).toBe(`${'😀'.repeat(4)}…`)
})

test('errors that differ in numbers, ids and names have one cause', () => {
  const one = causeOf('x', 'Job 0192f0c4-1111-7000-8000-00000000000a failed on "db-1" after 17 s\nand more')
  const other = causeOf('x', 'Job 0192f0c4-2222-7000-8000-00000000000b failed on "web-3" after 2 s')

  expect(one).toBe(other)
  expect(causeOf('y', 'Job 1 failed')).not.toBe(causeOf('x', 'Job 1 failed'))
})
