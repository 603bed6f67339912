import { asObject, type Json } from './json.js'
import { fields, text } from './tables.js'

/** A control with what it is about in one word or two. */
export function controlRow(item: Json): Json {
  const target = item['target']
  return { ...item, of: target === null || target === undefined ? text(item['scope']) : `${text(item['scope'])} ${text(target)}` }
}

const CONTROL = ['id', 'action', 'of', 'since', 'until', 'by', 'reason', 'running', 'still_running', 'drained_at', 'lifted_at', 'lifted_by', 'lifted_because', 'lift_reason']

/** What a command on controls did. */
export function controlLines(body: Json): string {
  if (body['control'] === null || body['control'] === undefined) return 'nothing was in force there\n'
  const done = `${body['changed'] === true ? 'done' : 'as before'}${Number(body['cancelled'] ?? 0) > 0 ? `; cancelled ${Number(body['cancelled'])} that ran` : ''}`
  return `${done}\n${fields(controlRow(asObject(body['control'])), CONTROL)}`
}
