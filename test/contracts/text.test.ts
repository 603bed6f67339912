import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cleanJson, cleanText, faultOfJson, isStorableText, JSON_LIMITS, jsonObject, JsonObject, storableText } from '../../contracts/text.js'

/** Any sequence of UTF-16 code units, with the ones that no store can hold far more often than by chance. */
const units = fc
  .array(fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.constantFrom(0, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0x41, 0xfffd)), { maxLength: 40 })
  .map((codes) => String.fromCharCode(...codes))

/** Says the same as isStorableText by other means: UTF-8 keeps exactly what is well formed. */
function survivesUtf8(text: string): boolean {
  return !text.includes('\0') && Buffer.from(text, 'utf8').toString('utf8') === text
}

describe('isStorableText', () => {
  test('says yes to exactly the text that UTF-8 keeps and that holds no U+0000', () => {
    fc.assert(
      fc.property(units, (text) => {
        expect(isStorableText(text)).toBe(survivesUtf8(text))
      }),
      { numRuns: 2_000 },
    )
  })

  test('keeps no state from one call to the next', () => {
    const answers = Array.from({ length: 4 }, () => isStorableText('a\0'))

    expect(answers).toEqual([false, false, false, false])
  })
})

describe('cleanText', () => {
  test('gives text that can be stored, whatever came in', () => {
    fc.assert(
      fc.property(units, fc.integer({ min: 1, max: 50 }), (text, max) => {
        expect(isStorableText(cleanText(text, max))).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })

  test('leaves text alone that is storable and short enough', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }).filter(isStorableText), (text) => {
        expect(cleanText(text, 200)).toBe(text)
      }),
    )
  })

  test('marks whatever it changed, and cuts to the length that was asked for', () => {
    fc.assert(
      fc.property(units, fc.integer({ min: 1, max: 20 }), (text, max) => {
        const cleaned = cleanText(text, max)
        if (cleaned === text) return
        expect(cleaned.endsWith(' [cleaned by agentbus]')).toBe(true)
        expect(cleaned.length).toBeLessThanOrEqual(max + ' [cleaned by agentbus]'.length)
      }),
    )
  })

  test('never cuts a character in two', () => {
    const cleaned = cleanText('ab😀cd', 3)

    expect(cleaned).toBe('ab [cleaned by agentbus]')
  })
})

describe('cleanJson', () => {
  test('gives a value without a fault in any string or key, and the same again when it is cleaned twice', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.dictionary(units, units, { maxKeys: 5 }), (value, bad) => {
        const cleaned = cleanJson({ value, bad })

        const twice = cleanJson(cleaned, 9_000)

        expect(JSON.stringify(cleaned)).not.toContain('\\u0000')
        expect(JSON.stringify(cleaned)).not.toMatch(/\\ud[89a-f]/)
        expect(twice).toEqual(cleaned)
      }),
    )
  })

  test('keeps numbers, booleans and null', () => {
    expect(cleanJson([1, true, null, { a: false }])).toEqual([1, true, null, { a: false }])
  })
})

describe('JsonObject', () => {
  test('passes what Postgres can hold unchanged', () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string().filter((key) => key !== '__proto__'),
          fc.jsonValue({ maxDepth: 3 }),
          { maxKeys: 5 },
        ),
        (value) => {
          if (faultOfJson(value) !== undefined) return
          expect(JsonObject.parse(value)).toEqual(value)
        },
      ),
    )
  })

  test.each([
    ['U+0000 in a value', { a: ['\0'] }],
    ['U+0000 in a key', { 'a\0': 1 }],
    ['a lone surrogate', { a: { b: '\ud800' } }],
    ['a nested key named __proto__', JSON.parse('{"a":{"__proto__":{"x":1}}}')],
    ['a key named __proto__', JSON.parse('{"__proto__":{"x":1}}')],
    ['a number that JSON cannot write', JSON.parse('{"n":1e400}')],
    ['33 levels', JSON.parse(`${'{"a":'.repeat(JSON_LIMITS.maxDepth + 1)}{}${'}'.repeat(JSON_LIMITS.maxDepth + 1)}`)],
    ['too many keys', Object.fromEntries(Array.from({ length: JSON_LIMITS.maxKeys + 1 }, (_none, at) => [`k${at}`, at]))],
    ['too many bytes', { a: 'x'.repeat(JSON_LIMITS.maxBytes) }],
    ['an array', []],
    ['null', null],
  ])('refuses %s', (_what, value) => {
    expect(JsonObject.safeParse(value).success).toBe(false)
  })

  test('takes 32 levels, 5,000 keys and one byte less than the limit', () => {
    const deep = JSON.parse(`${'{"a":'.repeat(JSON_LIMITS.maxDepth)}1${'}'.repeat(JSON_LIMITS.maxDepth)}`) as unknown
    const wide = Object.fromEntries(Array.from({ length: JSON_LIMITS.maxKeys }, (_none, at) => [`k${at}`, at]))
    const large = { a: 'x'.repeat(JSON_LIMITS.maxBytes - '{"a":""}'.length) }

    expect([deep, wide, large].map((value) => JsonObject.safeParse(value).success)).toEqual([true, true, true])
  })

  test('of another size takes that many bytes as JSON and no more, whatever characters they make', () => {
    const schema = jsonObject({ maxBytes: 20 })

    const answers = [{ a: 'x'.repeat(12) }, { a: 'x'.repeat(13) }, { a: 'é'.repeat(6) }, { a: 'é'.repeat(7) }].map((value) => schema.safeParse(value))

    expect(answers.map(({ success }) => success)).toEqual([true, false, true, false])
    expect(answers[1]?.error?.issues[0]?.message).toBe('is larger than 20 bytes')
  })
})

test('storableText counts characters as Postgres does, and names what to do about text that no store can hold', () => {
  const schema = storableText({ min: 1, max: 4 })

  const answers = ['', 'abcd', 'abcde', '😀😀😀😀', '😀😀😀😀a', 'a\0'].map((text) => schema.safeParse(text))

  expect(answers.map((answer) => answer.success)).toEqual([false, true, false, true, false, false])
  expect(answers[5]?.error?.issues[0]?.message).toContain('U+0000')
})
