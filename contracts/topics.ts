import { z } from 'zod'

/** What an event is about: words with dots between them. */
export const Topic = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$/, 'dot-separated words')
  .max(200)

export const TopicPattern = z
  .string()
  .regex(/^(\*|[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*(\.\*)?)$/, 'a topic, a pattern that ends in `.*`, or `*`')
  .max(200)

/** Every pattern that fits a topic: of `a.b.c` itself, `a.b.*`, `a.*` and `*`. So that patterns are found by index. */
export function patternsOf(topic: string): string[] {
  const words = topic.split('.')
  return [topic, ...words.slice(1).map((_word, at) => `${words.slice(0, words.length - 1 - at).join('.')}.*`), '*']
}
