import { z } from 'zod'
import { storableText } from './text.js'

const Scalar = z.union([storableText({ max: 1_000 }), z.number(), z.boolean(), z.null()])
type Scalar = z.infer<typeof Scalar>

const Comparison = z
  .strictObject({
    eq: Scalar.optional(),
    ne: Scalar.optional(),
    in: z.array(Scalar).min(1).max(100).optional(),
    gt: z.number().optional(),
    gte: z.number().optional(),
    lt: z.number().optional(),
    lte: z.number().optional(),
    /** Whether there is anything there at all. */
    exists: z.boolean().optional(),
    /** For a list: has this item. For a text: has this part. */
    contains: Scalar.optional(),
    starts_with: storableText({ min: 1, max: 1_000 }).optional(),
  })
  .refine((one) => Object.keys(one).length > 0, 'names no comparison')
type Comparison = z.infer<typeof Comparison>

const Path = storableText({ min: 1, max: 300 })

/** What must hold of some data: by dotted path, a value, a list of which one must fit, or comparisons. All must hold. */
export const Filter = z
  .record(Path, z.union([Scalar, z.array(Scalar).min(1).max(100), Comparison]))
  .refine((filter) => Object.keys(filter).length <= 50, 'has more than 50 conditions')
export type Filter = z.infer<typeof Filter>

/** What stands at a dotted path of some data; undefined when nothing does. A number is a place in a list. */
export function valueAt(data: unknown, path: string): unknown {
  let here: unknown = data
  for (const part of path.split('.')) {
    if (here === null || typeof here !== 'object' || !Object.hasOwn(here, part)) return undefined
    here = (here as Record<string, unknown>)[part]
  }
  return here
}

/** Whether every condition of the filter holds of the data. */
export function fits(filter: Filter, data: unknown): boolean {
  return Object.entries(filter).every(([path, condition]) => holds(valueAt(data, path), condition))
}

function holds(value: unknown, condition: Filter[string]): boolean {
  if (Array.isArray(condition)) return condition.some((one) => value === one)
  if (condition === null || typeof condition !== 'object') return value === condition
  return Object.entries(condition).every(([name, operand]) => COMPARE[name as keyof Comparison](value, operand as never))
}

const number = (value: unknown): number => (typeof value === 'number' ? value : NaN)

const COMPARE: { readonly [K in keyof Required<Comparison>]: (value: unknown, operand: NonNullable<Comparison[K]>) => boolean } = {
  eq: (value, operand) => value === operand,
  ne: (value, operand) => value !== operand,
  in: (value, operand) => operand.some((one) => value === one),
  gt: (value, operand) => number(value) > operand,
  gte: (value, operand) => number(value) >= operand,
  lt: (value, operand) => number(value) < operand,
  lte: (value, operand) => number(value) <= operand,
  exists: (value, operand) => (value !== undefined) === operand,
  contains: (value, operand) => (Array.isArray(value) ? value.includes(operand) : typeof value === 'string' && typeof operand === 'string' && value.includes(operand)),
  starts_with: (value, operand) => typeof value === 'string' && value.startsWith(operand),
}
