import { sql, type SQL } from 'drizzle-orm'
import { PgDialect } from 'drizzle-orm/pg-core'

const dialect = new PgDialect()

/**
 * A part of a statement with its text built once. Drizzle walks each part of a statement whenever it is sent; for parts that
 * are made of parts, in a statement of each job's life, that adds up. @throws for a part with parameters
 */
export function prebuilt(part: SQL): SQL {
  const { sql: text, params } = dialect.sqlToQuery(part)
  if (params.length > 0) throw new Error('a part with parameters is another one each time')
  return sql.raw(text)
}
