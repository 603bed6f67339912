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

test('an entry takes a place of its agent from when it enters until 25 ms after it has left', () => {
  const free = [places.free('devops', 3)]

  const first = places.enter('devops')
  const second = places.enter('devops')
  free.push(places.free('devops', 3))
  places.leave('devops', first)
  free.push(places.free('devops', 3))
  now.ms += 24
  free.push(places.free('devops', 3))
  now.ms += 1
  free.push(places.free('devops', 3))
  places.leave('devops', second)
  free.push(places.free('devops', 3))
  now.ms += 25
  free.push(places.free('devops', 3))

  expect(free).toEqual([3, 1, 1, 1, 2, 2, 3])
})

test('of several that have left each counts for itself, and those that enter meanwhile count as well', () => {
  const [first, second] = [places.enter('devops'), places.enter('devops')]

  places.leave('devops', first)
  now.ms += 10
  places.leave('devops', second)
  places.enter('devops')
  const free = [places.free('devops', 4)]
  now.ms += 15
  free.push(places.free('devops', 4))
  now.ms += 10
  free.push(places.free('devops', 4))

  expect(free).toEqual([1, 2, 3])
})

test('where more entries are in hand than the agent has places by now, none is free', () => {
  places.enter('devops')
  places.enter('devops')

  const free = [places.free('devops', 2), places.free('devops', 1)]

  expect(free.map((count) => count > 0)).toEqual([false, false])
})

test('in the first second after its gate has opened an agent has no free place, each time anew', () => {
  places.opened('devops')
  const free = [places.free('devops', 3)]

  now.ms += 999
  free.push(places.free('devops', 3))
  now.ms += 1
  free.push(places.free('devops', 3))
  places.enter('devops')
  free.push(places.free('devops', 3))
  places.opened('devops')
  free.push(places.free('devops', 3))
  now.ms += 1_000
  free.push(places.free('devops', 3))

  expect(free).toEqual([0, 0, 3, 2, 0, 2])
})

test('an entry takes a slot when it has got one, and none any more when it has left', () => {
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

test('who has left already leaves no second time', () => {
  const place = places.enter('devops')
  places.enter('devops')
  places.leave('devops', place)
  now.ms += 24

  places.leave('devops', place)

  const during = places.free('devops', 3)
  now.ms += 1
  expect([during, places.free('devops', 3)]).toEqual([1, 2])
})

test('each agent has places of its own', () => {
  const place = places.enter('devops')
  place.slot = 1
  const other = places.enter('auditor')

  places.leave('auditor', place)
  const between = [places.free('devops', 2), places.free('auditor', 2)]
  places.leave('auditor', other)
  places.opened('writer')
  now.ms += 25

  expect(between).toEqual([1, 1])
  expect([places.free('devops', 2), places.free('auditor', 2), places.free('writer', 2), places.free('nobody', 2)]).toEqual([1, 2, 0, 2])
  expect([places.slots('devops'), places.slots('auditor')]).toEqual([[1], []])
})
