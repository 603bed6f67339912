import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Places } from '../../processors/places.js'

const now = { ms: 0 }
let places: Places
beforeEach(() => {
  now.ms = 1_000
  vi.spyOn(performance, 'now').mockImplementation(() => now.ms)
  places = new Places()
})
afterEach(() => {
  vi.restoreAllMocks()
})

test('an entry takes a place of its agent from when it enters until it leaves', () => {
  const counts = [places.inHand('devops')]

  const first = places.enter('devops')
  const second = places.enter('devops')
  counts.push(places.inHand('devops'))
  places.leave('devops', first)
  counts.push(places.inHand('devops'))
  places.leave('devops', second)
  counts.push(places.inHand('devops'))

  expect(counts).toEqual([0, 2, 1, 0])
})

test('it takes a slot when it has got one, and none any more when it has left', () => {
  const [first, second] = [places.enter('devops'), places.enter('devops')]
  const slots = [places.slots('devops')]

  second.slot = 7
  slots.push(places.slots('devops'))
  first.slot = 2
  slots.push(places.slots('devops'))
  places.leave('devops', second)
  slots.push(places.slots('devops'))

  expect(slots).toEqual([[], [7], [2, 7], [2]])
})

test('an agent whose entries never left has rested for ever; else it has since the last one left', () => {
  const first = places.enter('devops')
  const second = places.enter('devops')
  const rested = [places.restedMs('nobody'), places.restedMs('devops')]

  places.leave('devops', first)
  now.ms += 25
  rested.push(places.restedMs('devops'))
  places.leave('devops', second)
  rested.push(places.restedMs('devops'))
  now.ms += 3
  places.enter('devops')
  rested.push(places.restedMs('devops'))

  expect(rested).toEqual([Infinity, Infinity, 25, 0, 3])
})

test('who has left already leaves no second time', () => {
  const place = places.enter('devops')
  places.enter('devops')
  places.leave('devops', place)
  now.ms += 10

  places.leave('devops', place)

  expect([places.inHand('devops'), places.restedMs('devops')]).toEqual([1, 10])
})

test('each agent has places of its own', () => {
  const place = places.enter('devops')
  place.slot = 1
  const other = places.enter('auditor')

  places.leave('auditor', place)
  const between = places.inHand('auditor')
  places.leave('auditor', other)
  now.ms += 5

  expect([between, places.inHand('devops'), places.inHand('auditor')]).toEqual([1, 1, 0])
  expect([places.slots('devops'), places.slots('auditor')]).toEqual([[1], []])
  expect([places.restedMs('devops'), places.restedMs('auditor')]).toEqual([Infinity, 5])
})
