/**
 * SQL for the SHA-256, in hex, of what an event `e` says. The first row of each job that came of it has it in its details, which
 * are chained: the event's own row is not.
 */
export const EVENT_HASH = `encode(sha256(convert_to(concat_ws(E'\\n', e.topic, coalesce(e.source_agent, ''), e.payload::text), 'UTF8')), 'hex')`

/** The same, of the event with that id; null when there is no id. */
export function eventHashOf(id: string): string {
  return `(select ${EVENT_HASH} from events e where e.id = ${id})`
}
