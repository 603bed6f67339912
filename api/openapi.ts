import { z } from 'zod'
import type { Route } from './define-route.js'
import { Problem } from './problem.js'

type Json = Record<string, unknown>

/** The OpenAPI 3.1 document of a route table, from the schemas that validate. */
export function openApiOf(routes: readonly Route[], version: string): Json {
  const schemas = new Schemas()
  const paths: Record<string, Json> = {}
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operationOf(route, schemas) }
  }
  const problem = schemas.ref(Problem, 'output')
  return {
    openapi: '3.1.0',
    info: {
      title: 'agentbus',
      version,
      description: 'The durable work bus. Errors are problem documents (RFC 9457) with a stable `code` and a `next` that says what to do. Writes take an Idempotency-Key.',
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }],
    paths,
    components: {
      schemas: schemas.components,
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: 'A token of a role (operator, agent, auditor), or the token of one attempt.' } },
      responses: { Problem: { description: 'What went wrong, and what to do next', content: { 'application/problem+json': { schema: problem } } } },
    },
  }
}

function operationOf(route: Route, schemas: Schemas): Json {
  const parameters = [...schemas.parametersOf(route.spec.params, 'path'), ...schemas.parametersOf(route.spec.query, 'query')]
  if (route.method !== 'get') {
    parameters.push({
      name: 'Idempotency-Key',
      in: 'header',
      required: false,
      schema: { type: 'string', maxLength: 200 },
      description: 'The same key and request are carried out once, and answered alike.',
    })
  }
  if (route.isConditional) {
    parameters.push({
      name: 'If-Match',
      in: 'header',
      required: false,
      schema: { type: 'string', pattern: '^(\\*|"\\d{1,9}")$' },
      description: 'The ETag of the version that is meant; with another version it is 412 and nothing changes.',
    })
  }
  return {
    operationId: route.id,
    tags: [route.tag],
    summary: route.summary,
    description: `Access: ${route.access}.`,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.spec.body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: schemas.ref(route.spec.body, 'input') } } } }),
    responses: {
      [String(route.status)]: success('OK', route, schemas),
      ...(route.also === undefined ? {} : { [String(route.also.status)]: success(route.also.when, route, schemas) }),
      default: { $ref: '#/components/responses/Problem' },
    },
  }
}

function success(description: string, route: Route, schemas: Schemas): Json {
  return { description, content: { 'application/json': { schema: schemas.ref(route.spec.response, 'output') } } }
}

/** Collects named schemas (`.meta({ id })`) as components; what has no name stands where it is used. */
class Schemas {
  readonly components: Record<string, unknown> = {}

  ref(schema: z.ZodType, io: 'input' | 'output'): Json {
    const json = toJson(schema, io)
    const { $defs, $schema: _dialect, ...root } = json
    for (const [name, definition] of Object.entries($defs ?? {})) this.components[componentName(name, io)] = relocate(definition, io)
    const name = schema.meta()?.id
    if (name === undefined) return relocate(root, io) as Json
    // zod 4.6 puts a named root among the definitions and answers a reference to it; before, the root stood here itself.
    if (root['$ref'] === undefined) this.components[componentName(name, io)] = relocate({ ...root, id: undefined }, io)
    return { $ref: `#/components/schemas/${componentName(name, io)}` }
  }

  /** A parameter for each key of an object, whether or not the object has a name: it is no component itself. */
  parametersOf(schema: z.ZodType | undefined, where: 'path' | 'query'): Json[] {
    if (schema === undefined) return []
    const json = toJson(schema, 'input')
    const { [String(schema.meta()?.id)]: root = json, ...others } = json.$defs ?? {}
    for (const [name, definition] of Object.entries(others)) this.components[componentName(name, 'input')] = relocate(definition, 'input')
    const { properties = {}, required = [] } = root as { properties?: Record<string, Json>; required?: string[] }
    return Object.entries(properties).map(([name, property]) => ({
      name,
      in: where,
      required: where === 'path' || required.includes(name),
      schema: relocate(property, 'input'),
    }))
  }
}

function toJson(schema: z.ZodType, io: 'input' | 'output'): Json & { $defs?: Record<string, Json> } {
  return z.toJSONSchema(schema, { io, unrepresentable: 'any', target: 'draft-2020-12' })
}

/** An input may leave out what has a default; an output has everything. Both forms of one name would clash. */
function componentName(name: string, io: 'input' | 'output'): string {
  return io === 'input' ? `${name}Input` : name
}

function relocate(value: unknown, io: 'input' | 'output'): unknown {
  if (Array.isArray(value)) return value.map((item) => relocate(item, io))
  if (value === null || typeof value !== 'object') return value
  const out: Json = {}
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined || (key === 'id' && typeof item === 'string')) continue
    out[key] = key === '$ref' && typeof item === 'string' ? `#/components/schemas/${componentName(item.replace('#/$defs/', ''), io)}` : relocate(item, io)
  }
  return out
}
