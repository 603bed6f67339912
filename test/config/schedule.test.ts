import { CronExpressionParser } from 'cron-parser'
import { describe, expect, test } from 'vitest'
import { faultOfCron, isWithinHours, nextSlot, slotsBetween } from '../../config/schedule.js'

const utc = (text: string): number => Date.parse(`${text}Z`)
const shown = (slots: readonly number[]): string[] => slots.map((ms) => new Date(ms).toISOString().slice(5, 16))
const due = (cron: string, timeZone: string, from: string, count: number): string[] => shown(slotsBetween({ cron, timeZone }, utc(from), Number.MAX_SAFE_INTEGER, count))

describe('the hour that is skipped', () => {
  test.each([
    ['Europe/Berlin', '2026-03-28T03:00', ['03-29T01:00', '03-30T00:30']],
    ['America/New_York', '2026-03-07T12:00', ['03-08T07:00', '03-09T06:30']],
  ])('a fixed time in it is due at its end, in %s', (zone, from, wanted) => {
    expect(due('30 2 * * *', zone, from, 2)).toEqual(wanted)
  })

  test.each([
    ['0,30 2 * * *', 'Europe/Berlin', '2026-03-28T03:00', ['03-29T01:00', '03-30T00:00', '03-30T00:30']],
    ['30 2,14 * * *', 'Europe/Berlin', '2026-03-28T14:00', ['03-29T01:00', '03-29T12:30', '03-30T00:30']],
    ['*/20 2 * * *', 'America/New_York', '2026-03-08T00:00', ['03-08T07:00', '03-09T06:00', '03-09T06:20']],
    ['30 1-3 * * *', 'Europe/London', '2026-03-29T00:00', ['03-29T01:00', '03-29T01:30', '03-29T02:30']],
    ['0 3 * * *', 'Europe/Berlin', '2026-03-28T12:00', ['03-29T01:00', '03-30T01:00', '03-31T01:00']],
    ['0 12 * * *', 'Pacific/Apia', '2011-12-29T00:00', ['12-29T22:00', '12-30T10:00', '12-30T22:00']],
    ['0 0 * * *', 'America/Havana', '2026-03-07T12:00', ['03-08T05:00', '03-09T04:00', '03-10T04:00']],
  ])('and so is each of several: %s in %s', (cron, zone, from, wanted) => {
    expect(due(cron, zone, from, 3)).toEqual(wanted)
  })

  test('a gap of half an hour is one too', () => {
    expect(due('15 2 * * *', 'Australia/Lord_Howe', '2026-10-03T00:00', 2)).toEqual(['10-03T15:30', '10-04T15:15'])
  })

  test('every half hour goes on without a hole', () => {
    expect(due('*/30 * * * *', 'Europe/Berlin', '2026-03-29T00:10', 4)).toEqual(['03-29T00:30', '03-29T01:00', '03-29T01:30', '03-29T02:00'])
  })
})

describe('the hour that happens twice', () => {
  test.each([
    ['30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00', ['10-25T00:30', '10-26T01:30']],
    ['30 1 * * *', 'America/New_York', '2026-10-31T12:00', ['11-01T05:30', '11-02T06:30']],
    ['45 1 * * *', 'Australia/Lord_Howe', '2026-04-04T00:00', ['04-04T14:45', '04-05T15:15']],
  ])('a fixed time in it is due once, at the first: %s in %s', (cron, zone, from, wanted) => {
    expect(due(cron, zone, from, 2)).toEqual(wanted)
  })

  test.each([
    ['0,30 1 * * *', 'America/New_York', '2026-10-31T12:00', ['11-01T05:00', '11-01T05:30', '11-02T06:00', '11-02T06:30']],
    ['30 0-3 * * *', 'America/New_York', '2026-11-01T03:00', ['11-01T04:30', '11-01T05:30', '11-01T07:30', '11-01T08:30']],
    ['*/30 0-4 * * *', 'Australia/Lord_Howe', '2027-04-03T13:45', ['04-03T14:00', '04-03T14:30', '04-03T15:30', '04-03T16:00']],
    ['*/20 59 1 * * *', 'Europe/London', '2026-10-24T23:30', ['10-25T00:59', '10-25T00:59', '10-25T00:59', '10-26T01:59']],
    ['0,15 2 * * *', 'Africa/Casablanca', '2026-02-14T12:00', ['02-15T01:00', '02-15T01:15', '02-16T02:00', '02-16T02:15']],
  ])('and so is each of several: %s in %s', (cron, zone, from, wanted) => {
    expect(due(cron, zone, from, 4)).toEqual(wanted)
  })

  test.each([
    ['*/30 */1 * * *', ['11-01T05:00', '11-01T05:30', '11-01T06:00', '11-01T06:30']],
    ['30 0-23/1 * * *', ['11-01T05:30', '11-01T06:30', '11-01T07:30', '11-01T08:30']],
    ['0,30 ? * * *', ['11-01T05:00', '11-01T05:30', '11-01T06:00', '11-01T06:30']],
    ['@hourly', ['11-01T05:00', '11-01T06:00', '11-01T07:00', '11-01T08:00']],
  ])('%s is due in both, for a step goes on', (cron, wanted) => {
    expect(due(cron, 'America/New_York', '2026-11-01T04:45', 4)).toEqual(wanted)
  })

  test('every hour is due in both', () => {
    expect(due('0 * * * *', 'Europe/Berlin', '2026-10-24T23:30', 4)).toEqual(['10-25T00:00', '10-25T01:00', '10-25T02:00', '10-25T03:00'])
  })
})

test('the parser that BullMQ brings loses quarters where clocks change by half an hour; ours does not', () => {
  const theirs = CronExpressionParser.parse('*/15 * * * *', { tz: 'Australia/Lord_Howe', currentDate: new Date(utc('2026-04-04T14:46')) })

  expect(shown([theirs.next().getTime()])).toEqual(['04-04T15:30'])
  expect(due('*/15 * * * *', 'Australia/Lord_Howe', '2026-04-04T14:46', 2)).toEqual(['04-04T15:00', '04-04T15:15'])
})

test('intervals count from the epoch, so that every process and every restart agrees', () => {
  expect(shown(slotsBetween({ everySeconds: 900 }, utc('2026-05-01T10:07'), utc('2026-05-01T10:45'), 10))).toEqual(['05-01T10:15', '05-01T10:30', '05-01T10:45'])
  expect(nextSlot({ everySeconds: 5 }, utc('2026-05-01T10:00:05'))).toBe(utc('2026-05-01T10:00:10'))
})

test('six fields have seconds first', () => {
  expect(nextSlot({ cron: '*/10 * * * * *', timeZone: 'UTC' }, utc('2026-05-01T10:00:01'))).toBe(utc('2026-05-01T10:00:10'))
})

test.each([
  ['61 * * * *', 'is not a cron expression'],
  ['every day', 'has five fields'],
  ['0 0 30 2 *', 'is never due'],
])('%s is refused: it %s', (cron, fault) => {
  expect(faultOfCron(cron, 'UTC')).toContain(fault)
})

test.each([
  ['22:00-06:00', '2026-01-10T21:30', true],
  ['22:00-06:00', '2026-01-10T05:30', false],
  ['08:00-18:00', '2026-01-10T16:59', true],
  ['08:00-18:00', '2026-01-10T17:00', false],
  ['08:00-24:00', '2026-01-10T22:59', true],
])('%s in Berlin, at %s UTC: %s', (span, at, wanted) => {
  expect(isWithinHours([span], 'Europe/Berlin', utc(at))).toBe(wanted)
})
