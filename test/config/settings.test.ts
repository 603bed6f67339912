import { resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadSettings, renderEnvExample, SETTINGS, unknownSettings, type SettingFault } from '../../config/settings.js'
import { AgentbusError } from '../../contracts/errors.js'

const NAMES = Object.values(SETTINGS).map(({ env }) => env)

function faultsOf(env: Record<string, string>): SettingFault[] {
  try {
    loadSettings(env)
    return []
  } catch (error) {
    if (!(error instanceof AgentbusError) || error.code !== 'AGENTBUS_CONFIG') throw error
    return error.fields['faults'] as SettingFault[]
  }
}

const faulty = (env: Record<string, string>): string[] => faultsOf(env).map(({ setting }) => setting)

describe('settings', () => {
  test('an empty environment gives the documented defaults', () => {
    expect(loadSettings({})).toMatchObject({
      dataDir: resolve('.agentbus'),
      databaseUrl: undefined,
      queueBackend: 'auto',
      port: 7717,
      url: 'http://127.0.0.1:7717',
      leaseSeconds: 600,
      logPretty: false,
    })
  })

  test('a key is the name in camel case without AGENTBUS_', () => {
    for (const [key, { env }] of Object.entries(SETTINGS)) {
      expect(key).toBe(
        env
          .replace(/^AGENTBUS_/, '')
          .toLowerCase()
          .replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
      )
    }
  })

  test('all faults are reported at once', () => {
    const env = { AGENTBUS_PORT: '80x', DATABASE_URL: 'mysql://x', LEASE_SECONDS: '0', AGENTBUS_LOG_PRETTY: 'yes', OPENCLAW_BASE_URL: 'http://gateway' }

    expect(faulty(env).sort()).toEqual(['AGENTBUS_LOG_PRETTY', 'AGENTBUS_PORT', 'DATABASE_URL', 'LEASE_SECONDS', 'OPENCLAW_HOOK_TOKEN'])
  })

  test.each(NAMES)('%s that is set but empty, or padded, is a fault and not the default', (name) => {
    expect(faulty({ [name]: '' })).toContain(name)
    expect(faulty({ [name]: ' \n' })).toContain(name)
    expect(faulty({ [name]: ' 1' })).toContain(name)
  })

  test.each(['1e3', '0x10', '+5', '-1', '05', '5.0', '5s', 'NaN', 'Infinity', '65536', '9'.repeat(30)])('AGENTBUS_PORT=%s is a fault', (text) => {
    expect(faulty({ AGENTBUS_PORT: text })).toEqual(['AGENTBUS_PORT'])
  })

  test.each(['1', 'True', 'yes', 'on', '0'])('AGENTBUS_LOG_PRETTY=%s is a fault', (text) => {
    expect(faulty({ AGENTBUS_LOG_PRETTY: text })).toEqual(['AGENTBUS_LOG_PRETTY'])
  })

  test.each([
    ['DATABASE_URL', 'postgres://u:p%zz@host/db'],
    ['DATABASE_URL', 'postgres:///db'],
    ['DATABASE_URL', 'postgres://u:p#w@host/db'],
    ['DATABASE_URL', 'postgres://a,b/db'],
    ['REDIS_URL', 'redis://host/name'],
    ['REDIS_URL', 'http://host'],
    ['AGENTBUS_URL', 'ftp://host'],
    ['AGENTBUS_URL', 'http://u:p@host'],
    ['AGENTBUS_PUBLIC_URL', 'http://host/?a=b'],
    ['AGENTBUS_SECRET', 'x'.repeat(31)],
    ['AGENTBUS_QUEUE_BACKEND', 'Redis'],
    ['AGENTBUS_QUEUE_PREFIX', 'a:b'],
    ['AGENTBUS_HOST', 'host:80'],
    ['AGENTBUS_PG_POOL', '1'],
    ['AGENTBUS_PG_POOL', '201'],
    ['AGENTBUS_WORKER_ID', 'a b'],
    ['AGENTBUS_LOG_LEVEL', 'verbose'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'authorization=50%'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'authorization=%ff'],
  ])('%s=%s is a fault', (name, text) => {
    expect(faulty({ [name]: text })).toEqual([name])
  })

  test.each([
    ['DATABASE_URL', 'postgresql://u:p%40ss@[::1]:5432/db?sslmode=require'],
    ['DATABASE_URL', 'postgres:///db?host=/run/postgresql'],
    ['REDIS_URL', 'rediss://u:p@host:6380/3'],
    ['AGENTBUS_PORT', '0'],
    ['AGENTBUS_HOST', '::'],
    ['OTEL_EXPORTER_OTLP_HEADERS', 'authorization=Bearer%20a-token,x-team=50%25'],
    ['AGENTBUS_QUEUE_PREFIX', '{agentbus}'],
  ])('%s=%s is taken', (name, text) => {
    expect(faulty({ [name]: text })).toEqual([])
  })

  test.each([
    ['OPENCLAW_HOOK_TOKEN', { OPENCLAW_BASE_URL: 'http://g' }],
    ['OPENCLAW_HOOK_TOKEN', { OPENCLAW_HOOK_TOKEN: 't' }],
    ['OPENCLAW_HOOK_PATH', { OPENCLAW_HOOK_PATH: '/hooks' }],
    ['AGENTBUS_STALLED_CHECK_MS', { AGENTBUS_STALLED_CHECK_MS: '8001' }],
    ['LEASE_SECONDS', { LEASE_SECONDS: '8' }],
    ['AGENTBUS_COMPLETION_GRACE_MS', { LEASE_SECONDS: '20', AGENTBUS_COMPLETION_GRACE_MS: '20000' }],
    ['AGENTBUS_SIM_PORT', { AGENTBUS_SIM_PORT: '7717' }],
  ])('a rule over several settings names %s (%#)', (name, env) => {
    expect(faulty(env)).toEqual([name])
  })

  test('a hook token without a gateway is taken beside a fleet file, whose gateways may name it, and nothing else of a gateway is', () => {
    const fleet = { AGENTBUS_FLEET: 'fleet.yaml' }

    expect(faulty({ ...fleet, OPENCLAW_HOOK_TOKEN: 't' })).toEqual([])
    expect(faulty({ ...fleet, OPENCLAW_HOOK_PATH: '/hooks' })).toEqual(['OPENCLAW_HOOK_PATH'])
    expect(faulty({ ...fleet, OPENCLAW_BASE_URL: 'http://g' })).toEqual(['OPENCLAW_HOOK_TOKEN'])
  })

  test('a hook token that belongs to nothing is told what it could belong to', () => {
    const fault = 'has no meaning unless OPENCLAW_BASE_URL or AGENTBUS_FLEET is set'

    expect(faultsOf({ OPENCLAW_HOOK_TOKEN: 't' })).toEqual([{ setting: 'OPENCLAW_HOOK_TOKEN', fault }])
  })

  test.each(NAMES)('what stands in %s by mistake is in no message', (name) => {
    const mistake = 'hunter2 hunter2'

    expect(JSON.stringify(faultsOf({ [name]: mistake, AGENTBUS_PORT: mistake }))).not.toContain('hunter2')
  })

  test('names that look like settings and are none are told', () => {
    expect(unknownSettings({ AGENTBUS_PROT: '1', AGENTBUS_PORT: '1', PATH: '/bin' })).toEqual(['AGENTBUS_PROT'])
  })
})

describe('.env.example', () => {
  const lines = renderEnvExample().split('\n')
  const assigned = lines.flatMap((line) => (/^#[A-Z_]+=/.test(line) ? [line.slice(1)] : []))

  test('it holds every setting once, explained', () => {
    expect(assigned.map((line) => line.slice(0, line.indexOf('=')))).toEqual(NAMES)
    for (const line of assigned) expect(lines[lines.indexOf(`#${line}`) - 1]).toMatch(/^# \S.{9}/)
  })

  test('every line is a valid setting when it is uncommented', () => {
    const env = Object.fromEntries(assigned.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))

    expect(faultsOf(env)).toEqual([])
  })

  test('nothing is set as long as nothing is uncommented', () => {
    expect(lines.every((line) => line === '' || line.startsWith('#'))).toBe(true)
  })
})
