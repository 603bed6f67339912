import { expect, test } from 'vitest'
import { Turnstile } from '../../api/turnstile.js'

/** Work that ends when it is told to. */
function work(): { readonly run: () => Promise<string>; readonly begun: () => boolean; readonly end: () => void } {
  let hasBegun = false
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  return {
    run: async () => {
      hasBegun = true
      await ended
      return 'done'
    },
    begun: () => hasBegun,
    end: () => end(),
  }
}

const there = new AbortController().signal

test('as many are worked on at once as there is room for, and the next when one has ended', async () => {
  const turnstile = new Turnstile({ most: 2 })
  const [first, second, third] = [work(), work(), work()]
  const ends = [first, second, third].map(({ run }) => turnstile.within(there, run))

  expect([first.begun(), second.begun(), third.begun()]).toEqual([true, true, false])
  first.end()
  await ends[0]
  second.end()
  third.end()

  expect(await Promise.all(ends)).toEqual(['done', 'done', 'done'])
})

test('who came last is next: the one before it has waited longer and is the first to give up', async () => {
  const turnstile = new Turnstile({ most: 1 })
  const order: string[] = []
  const holder = work()
  const held = turnstile.within(there, holder.run)
  const others = ['early', 'late'].map((name) => turnstile.within(there, async () => order.push(name)))

  holder.end()
  await Promise.all([held, ...others])

  expect(order).toEqual(['late', 'early'])
})

test('whoever has gone while it waited is not worked for, and its place in the line is free', async () => {
  const turnstile = new Turnstile({ most: 1 })
  const [holder, abandoned, next] = [work(), work(), work()]
  const gone = new AbortController()
  const held = turnstile.within(there, holder.run)
  const waiting = turnstile.within(there, next.run)
  const given = turnstile.within(gone.signal, abandoned.run)

  gone.abort()
  holder.end()
  next.end()

  expect(await Promise.all([held, waiting, given])).toEqual(['done', 'done', undefined])
  expect(abandoned.begun()).toBe(false)
})

test('whoever has gone before it came is not worked for', async () => {
  const never = work()

  expect(await new Turnstile().within(AbortSignal.abort(), never.run)).toBeUndefined()
  expect(never.begun()).toBe(false)
})

test('who finds no room in time is told that nothing was done and when to ask again', async () => {
  const turnstile = new Turnstile({ most: 1, longestMs: 5 })
  const [holder, refused] = [work(), work()]
  const held = turnstile.within(there, holder.run)

  await expect(turnstile.within(there, refused.run)).rejects.toMatchObject({ code: 'AGENTBUS_UNAVAILABLE', fields: { retry_after: 1 } })
  holder.end()
  await held

  expect(refused.begun()).toBe(false)
})

test('work that fails gives its place back', async () => {
  const turnstile = new Turnstile({ most: 1 })

  await expect(turnstile.within(there, () => Promise.reject(new Error('it went wrong')))).rejects.toThrow('it went wrong')

  expect(await turnstile.within(there, async () => 'done')).toBe('done')
})
