import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const built = (file: string): string => JSON.stringify(new URL(`../../dist/cli/${file}`, import.meta.url).href)

/** Once: the modules of both queue backends are imported by the same file. That no entry and no hook carries a trace then is shown in test/integration/traces.test.ts. */
test('nothing of OpenTelemetry is loaded with the bus and its API, unless traces are asked for', { timeout: 60_000 }, async () => {
  const loaded = await promisify(execFile)(process.execPath, [
    '--input-type=module',
    '--experimental-loader',
    `data:text/javascript,import { appendFileSync } from 'node:fs'; export async function resolve(s, c, n) { const r = await n(s, c); if (/opentelemetry|bullmq-otel/.test(r.url)) appendFileSync(1, r.url + '\\n'); return r }`,
    '--eval',
    `await import(${built('bus.js')}); await import(${built('serve-api.js')})`,
  ])

  expect(loaded.stdout).not.toContain('exporter-trace-otlp-http')
  expect(loaded.stdout).not.toContain('sdk-trace')
  expect(loaded.stdout).not.toContain('bullmq-otel')
})
