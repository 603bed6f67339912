import { afterAll, beforeAll, expect, test } from 'vitest'
import { routes } from '../../api/routes/index.js'
import { WaitingClients } from '../../api/waiting.js'
import { AgentbusError } from '../../contracts/errors.js'
import type { Ledger } from '../../ledger/ledger.js'
import type { Database } from '../../ledger/database.js'
import { ledgerAt, OPERATOR } from '../support/ledger.js'
import { cases } from './role-cases.js'

let away: { readonly ledger: Ledger; readonly database: Database }
beforeAll(() => {
  // Nothing listens there. A new ledger has nothing in memory that could answer in its place.
  away = ledgerAt('postgres://someone:secretpassword@127.0.0.1:9/nothing')
})
afterAll(() => away.database.close())

const ID = '0192f0c4-1111-7000-8000-00000000000a'

/** Everything that an operator is let in for. Whether somebody is signed in is remembered for a moment: the handler is what counts. */
const asked = cases.filter(([, , , , expected]) => expected.operator < 400).filter(([id]) => id !== 'metrics')

test.each(asked)('%s (%s %s) says that the ledger is away', async (id, _method, path, body) => {
  const route = routes.find((one) => one.id === id)
  if (route === undefined) throw new Error(`no route ${id}`)
  const url = new URL(path.replace(/\b[A-Z_]{4,}\b/g, ID), 'http://localhost')
  const names = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? '')
  const values = new RegExp(`^${route.path.replace(/\{\w+\}/g, '([^/]+)')}$`).exec(url.pathname)?.slice(1) ?? []
  const input = {
    params: route.spec.params?.parse(Object.fromEntries(names.map((name, at) => [name, values[at]]))),
    query: route.spec.query?.parse(Object.fromEntries(url.searchParams)),
    body: route.spec.body?.parse(body ?? {}),
  }

  const answer = await Promise.resolve(
    route.handle({ ...input, caller: OPERATOR.caller, context: OPERATOR, gone: new AbortController().signal }, { ledger: away.ledger, waiting: new WaitingClients(undefined) }),
  ).catch((error: unknown) => error)

  expect(answer).toBeInstanceOf(AgentbusError)
  expect(answer).toMatchObject({ code: 'AGENTBUS_UNAVAILABLE' })
})
