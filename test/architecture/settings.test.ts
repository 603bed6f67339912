import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { renderEnvExample, SETTINGS } from '../../config/settings.js'

test('.env.example says what the settings say', async () => {
  expect(await readFile('.env.example', 'utf8')).toBe(renderEnvExample())
})

test('docker-compose.yml runs pinned images, an append-only Redis that evicts nothing, one API and two workers', async () => {
  const compose = parse(await readFile('docker-compose.yml', 'utf8'), { merge: true }) as {
    services: Record<string, { image?: string; command?: string[]; environment?: Record<string, string>; deploy?: { replicas?: number } }>
  }

  const known = new Set<string>([...Object.values(SETTINGS).map((setting) => setting.env), 'POSTGRES_USER', 'POSTGRES_PASSWORD', 'POSTGRES_DB'])
  for (const service of Object.values(compose.services)) {
    if (service.image !== undefined) expect(service.image).toMatch(/:[\w.-]+$/)
    for (const name of Object.keys(service.environment ?? {})) expect(known).toContain(name)
  }
  expect(compose.services['redis']?.command?.join(' ')).toMatch(/--appendonly yes .*--maxmemory-policy noeviction/)
  expect(compose.services['worker']?.deploy?.replicas).toBe(2)
  expect(compose.services['api']).toBeDefined()
})
