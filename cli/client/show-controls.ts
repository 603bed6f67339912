import { asObject, type Json } from './json.js'
import { fields, text } from './tables.js'

/** A control with what it is about, and what a drain waits for, in one word or two. */
export function controlRow(item: Json): Json {
  const target = item['target']
  const of = target === null || target === undefined ? text(item['scope']) : `${text(item['scope'])} ${text(target)}`
  return { ...item, of, waits_for: waitOf(asObject(item['waits_for'])) }
}

/** Null for what is no drain, or is over; a server of an earlier version says nothing of it either. */
function waitOf({ kind, count, since }: Json): string | null {
  if (kind === undefined) return null
  if (kind === 'next_look') return 'the next look'
  const what = `${text(count)} ${count === 1 ? text(kind).replace(/s$/, '') : text(kind)}`
  return typeof since === 'string' ? `${what}, since ${since}` : what
}

const CONTROL = [
  'id',
  'action',
  'of',
  'since',
  'until',
  'by',
  'reason',
  'running',
  'still_running',
  'waits_for',
  'drained_at',
  'lifted_at',
  'lifted_by',
  'lifted_because',
  'lift_reason',
]

/** What a command on controls did. */
export function controlLines(body: Json): string {
  if (body['control'] === null || body['control'] === undefined) return 'nothing was in force there\n'
  const done = `${body['changed'] === true ? 'done' : 'as before'}${Number(body['cancelled'] ?? 0) > 0 ? `; cancelled ${Number(body['cancelled'])} that ran` : ''}`
  return `${done}\n${fields(controlRow(asObject(body['control'])), CONTROL)}`
}
