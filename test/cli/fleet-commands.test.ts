import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, onTestFinished } from 'vitest'
import { applyFirstFleet } from '../../cli/bootstrap.js'
import { LEASE_FAULT } from '../../config/lease-rule.js'
import { loadSettings } from '../../config/settings.js'
import { messageOf } from '../../contracts/errors.js'
import { freshLedger } from '../support/ledger.js'
import { test } from './fixtures.js'
import type { Reply } from './stand-in.js'

const FLEET = `gateways:
  - { id: main, base_url: "http://127.0.0.1:18789", token: "env:HOOK_TOKEN" }
agents:
  - id: writer
    gateway: main
`
const ID = '0192f0c4-1111-7000-8000-00000000000a'

function changes(...list: readonly unknown[]): Reply {
  return { status: 200, body: { changes: list } }
}

describe('apply', () => {
  test('sends the whole parsed file with both switches', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'fleet.yaml'), FLEET)
    api.always(changes())

    const ran = await cli(['apply', '-f', 'fleet.yaml', '--dry-run', '--prune', '--idempotency-key', 'k'])

    expect(ran.code).toBe(0)
    expect(api.seen[0]).toMatchObject({ method: 'POST', path: '/v1/fleet', headers: { 'idempotency-key': 'k' } })
    expect(api.seen[0]?.body).toMatchObject({
      dry_run: true,
      prune: true,
      fleet: { version: 1, gateways: [{ id: 'main', hook_path: '/hooks' }], agents: [{ id: 'writer', gateway: 'main' }] },
    })
  })

  test('shows the difference of each object, field by field', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'fleet.yaml'), FLEET)
    api.always(
      changes(
        { kind: 'gateway', id: 'main', change: 'unchanged', fields: {} },
        { kind: 'agent', id: 'writer', change: 'changed', fields: { concurrency: { from: 1, to: 2 } } },
        { kind: 'agent', id: 'reader', change: 'added', fields: { gateway: { from: null, to: 'main' } } },
      ),
    )

    const ran = await cli(['apply', '-f', 'fleet.yaml', '--dry-run'])

    expect(ran.stdout).toBe('changed agent writer\n    concurrency: 1 → 2\nadded agent reader\n    gateway: "main"\n2 changed, 1 unchanged; nothing was written (dry run)\n')
  })

  test('nothing to change is a success', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'fleet.yaml'), FLEET)
    api.always(changes({ kind: 'gateway', id: 'main', change: 'unchanged', fields: {} }))

    expect(await cli(['apply', '-f', 'fleet.yaml'])).toEqual({ code: 0, stdout: '0 changed, 1 unchanged\n', stderr: '' })
  })

  test('all faults of the file are told with file, line and column, and nothing is sent', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'fleet.yaml'), FLEET.replace('gateway: main', 'gateway: other\n    colour: red'))

    const ran = await cli(['apply', '-f', 'fleet.yaml'])

    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toMatch(/^fleet\.yaml:6:5: .*colour/m)
    expect(ran.stderr).toContain('nothing was sent')
    expect(api.seen).toEqual([])
  })

  test('with --json the faults are a list', async ({ cli, folder }) => {
    await writeFile(path.join(folder, 'fleet.yaml'), 'agents: 3\n')

    const ran = await cli(['apply', '-f', 'fleet.yaml', '--json'])

    expect(JSON.parse(ran.stderr)).toMatchObject({ exit_code: 2, faults: [expect.stringMatching(/^fleet\.yaml:1:9: agents/)] })
  })

  test('a file that is not there is named', async ({ cli }) => {
    const ran = await cli(['apply', '-f', 'nowhere.yaml'])

    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain('nowhere.yaml: cannot be read')
  })
})

test('the fleet file of a start is refused for a lease that the lock of its own workers outlives, and taken where the workers run elsewhere', async ({ folder }) => {
  const file = path.join(folder, 'fleet.yaml')
  await writeFile(file, `${FLEET}    lease_seconds: 8\n`)
  const settings = loadSettings({ AGENTBUS_FLEET: file, AGENTBUS_LOCK_MS: '8000' })
  const t = await freshLedger()
  onTestFinished(() => t.close())
  const agents = async () => (await t.ledger.listAgents()).map(({ id }) => id)

  const refused = await applyFirstFleet(t.ledger, settings, { simulatorUrl: undefined, workers: true }).catch(messageOf)
  const before = await agents()
  await applyFirstFleet(t.ledger, settings, { simulatorUrl: undefined, workers: false })

  expect(refused).toBe(`${file}:6:20: agents[0].lease_seconds: ${LEASE_FAULT}`)
  expect([before, await agents()]).toEqual([['devops'], ['devops', 'writer']])
})

describe('set-standing-order', () => {
  const ORDER = "cron: '*/15 * * * *'\nmessage: Look around.\n"

  test('sends the checked order, with what makes it conditional', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'order.yaml'), ORDER)
    api.always({ status: 200, body: { change: { kind: 'standing_order', id: 'devops/look', change: 'unchanged', fields: {} }, order: null } })

    const ran = await cli(['set-standing-order', 'devops/look', '-f', 'order.yaml', '--dry-run', '--if-version', '3', '--idempotency-key', 'k'])

    expect(ran).toEqual({ code: 0, stdout: '0 changed, 1 unchanged; nothing was written (dry run)\n', stderr: '' })
    expect(api.seen[0]).toMatchObject({
      ...{ method: 'PUT', path: '/v1/standing-orders/devops/look?dry_run=true', headers: { 'idempotency-key': 'k', 'if-match': '"3"' } },
      body: { cron: '*/15 * * * *', message: 'Look around.' },
    })
  })

  for (const [text, fault] of [
    ["cron: '61 * * * *'\nmessage: x\n", /order\.yaml:1:7: cron: is not a cron expression/m],
    [`${ORDER}time_zone: Mars/Base\n`, /order\.yaml:3:12: time_zone: is not a time zone/m],
    [`${ORDER}colour: red\n`, /order\.yaml:3:1: unknown key colour/m],
    [`${ORDER}agent: devops\n`, /order\.yaml:1:1: name: give both agent and name/m],
    ['- a list\n', /order\.yaml:1:1: must be a mapping/m],
    ['', /order\.yaml:1:1: must be a mapping/m],
  ] as const) {
    test(`tells the fault of ${JSON.stringify(text)} with line and column, and sends nothing`, async ({ api, cli, folder }) => {
      await writeFile(path.join(folder, 'order.yaml'), text)

      const ran = await cli(['set-standing-order', 'devops/look', '-f', 'order.yaml'])

      expect(ran).toMatchObject({ code: 2, stdout: '' })
      expect(ran.stderr).toMatch(fault)
      expect(api.seen).toEqual([])
    })
  }

  test('refuses a version that is none', async ({ api, cli, folder }) => {
    await writeFile(path.join(folder, 'order.yaml'), ORDER)

    const ran = await cli(['set-standing-order', 'devops/look', '-f', 'order.yaml', '--if-version', 'newest'])

    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(api.seen).toEqual([])
  })
})

describe('token', () => {
  test('create sends what was given and shows the token alone on its line', async ({ api, cli }) => {
    api.always({ status: 201, body: { token: 'abt_new', id: ID, name: 'n' } })

    const ran = await cli(['token', 'create', '--name', 'n', '--role', 'agent', '--agent', 'devops', '--expires-at', '2030-01-01T00:00:00Z'])

    expect(ran).toEqual({ code: 0, stdout: 'abt_new\n', stderr: '' })
    expect(api.seen[0]).toMatchObject({ method: 'POST', path: '/v1/tokens', body: { name: 'n', role: 'agent', agent_id: 'devops', expires_at: '2030-01-01T00:00:00Z' } })
  })

  test('create --json gives the whole answer', async ({ api, cli }) => {
    api.always({ status: 201, body: { token: 'abt_new', id: ID } })

    expect(JSON.parse((await cli(['token', 'create', '--name', 'n', '--role', 'auditor', '--json'])).stdout)).toEqual({ token: 'abt_new', id: ID })
  })

  test('list shows a table', async ({ api, cli }) => {
    api.always({ status: 200, body: { items: [{ id: ID, name: 'n', role: 'auditor' }] } })

    const ran = await cli(['token', 'list'])

    expect(ran.stdout).toMatch(/^id +name +role .*\n0192f0c4\S+ +n +auditor/)
    expect(api.seen[0]).toMatchObject({ method: 'GET', path: '/v1/tokens' })
  })

  test('revoke deletes by id', async ({ api, cli }) => {
    expect(await cli(['token', 'revoke', ID])).toEqual({ code: 0, stdout: `revoked ${ID}\n`, stderr: '' })
    expect(api.seen[0]).toMatchObject({ method: 'DELETE', path: `/v1/tokens/${ID}`, body: undefined })
  })

  test('revoke refuses the token itself, which would stand in the path', async ({ api, cli }) => {
    expect((await cli(['token', 'revoke', 'abt_0123456789abcdefghijklmnop'])).code).toBe(2)
    expect(api.seen).toEqual([])
  })
})
