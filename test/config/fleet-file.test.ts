import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadFleetFile, MAX_FLEET_BYTES, parseFleet, type FleetSetting } from '../../config/fleet-file.js'

const GOOD = `version: 1
gateways:
  - { id: main, base_url: "http://127.0.0.1:18789", token: "env:HOOK_TOKEN" }
agents:
  - id: writer
    gateway: main
`

function places(text: string, setting: FleetSetting = {}): string[] {
  const parsed = parseFleet(text, setting)
  return 'faults' in parsed ? parsed.faults.map(({ line, column, fault }) => `${line}:${column} ${fault}`) : []
}

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agentbus-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('fleet file', () => {
  test('a good one is read, with defaults', async () => {
    const path = join(folder, 'fleet.yaml')
    await writeFile(path, GOOD)

    expect(await loadFleetFile(path)).toMatchObject({ gateways: [{ hook_path: '/hooks' }], agents: [{ id: 'writer', concurrency: 1 }] })
  })

  test('all faults are told at once, each with file, line and column', async () => {
    const path = join(folder, 'fleet.yaml')
    await writeFile(path, GOOD.replace('gateway: main', 'gateway: other\n    concurrency: 0\n    colour: red').replace('127.0.0.1:18789"', '127.0.0.1:18789", port: 1'))

    const load = loadFleetFile(path)

    await expect(load).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG' })
    const lines = await load.catch((error: unknown) => String(error instanceof Error ? error.message : error).split('\n'))
    expect(lines).toEqual([
      `${path}:3:53: gateways[0]: unknown key port`,
      `${path}:6:14: agents[0].gateway: gateway other is not defined`,
      expect.stringContaining(`${path}:7:18: agents[0].concurrency: `),
      `${path}:8:5: agents[0]: unknown key colour`,
    ])
  })

  test('a reference to nothing points at the reference', () => {
    expect(places(GOOD.replace('gateway: main', 'gateway: other'))).toEqual(['6:14 agents[0].gateway: gateway other is not defined'])
  })

  test('a lease that may be over before a worker is missed is a fault where it stands, also one that nobody wrote, and only where that lock is known', () => {
    const short = `${GOOD}    lease_seconds: 8\n  - { id: reader, gateway: main, lease_seconds: 9 }\n  - { id: tester, gateway: main }\n`
    const faultsUnder = (lockMs: number): string[] =>
      places(short, { workers: { lockMs, stalledCheckMs: 1_000 } }).map((place) => place.replace(/: two thirds of it must be longer than AGENTBUS_LOCK_MS .*$/, ''))

    // Two thirds of 8 s are 5,333 ms.
    expect(faultsUnder(4_334)).toEqual(['7:20 agents[0].lease_seconds'])
    expect(faultsUnder(600_000)).toEqual(['7:20 agents[0].lease_seconds', '8:49 agents[1].lease_seconds', '9:5 agents[2].lease_seconds'])
    expect(faultsUnder(4_333)).toEqual([])
    expect(places(short)).toEqual([])
  })

  test('the inbox of a fleet: an unknown coordinator, a topic twice, a step without a tone, each with its line', () => {
    const inbox = 'inbox:\n  coordinator: nobody\n  policies:\n    - topic: a.*\n      steps: [{ tone: x }]\n    - topic: a.*\n      steps: [{ tone: y }]\n'
    const lines = GOOD.trimEnd().split('\n').length

    expect(places(`${GOOD.trimEnd()}\n${inbox}`)).toEqual([
      `${lines + 2}:16 inbox.coordinator: agent nobody is not defined`,
      `${lines + 6}:14 inbox.policies[1].topic: the policy for a.* is defined twice`,
    ])
    expect(places(`${GOOD.trimEnd()}\n${inbox.replace('{ tone: x }', '{ times: 2 }')}`)[0]).toMatch(new RegExp(`^${lines + 5}:15 inbox.policies\\[0\\].steps\\[0\\].tone: `))
  })

  test('the alerts of a fleet: every fault of webhooks, rules and receivers, each with its line', () => {
    const alerts = `alerts:
  webhooks:
    - { id: pager, url: "https://pager.example/hook", secret: "env:PAGER_KEY" }
    - { id: pager, url: "https://someone:word@pager.example/hook", secret: "env:PAGER_KEY" }
  rules:
    - name: many-dead
      figure: dead_letters
      above: 3
      clear_at: 5
      remind_seconds: 30
      notify: [{ webhook: nobody }, { agent: nobody }]
    - name: many-dead
      figure: breaker_open_seconds
      above: 60
      window_seconds: 3600
`
    const parts = (text: string): string[] => places(`${GOOD.trimEnd()}\n${text}`)
    const first = GOOD.trimEnd().split('\n').length + 1
    const fixed = alerts.replace('someone:word@', '').replace('      clear_at: 5\n      remind_seconds: 30\n', '').replace('      window_seconds: 3600\n', '')

    expect(parts(alerts)).toEqual([
      expect.stringMatching(new RegExp(`^${first + 3}:25 alerts.webhooks\\[1\\].url: must be an http or https URL without user`)),
      `${first + 8}:17 alerts.rules[0].clear_at: must be at most \`above\``,
      `${first + 9}:23 alerts.rules[0].remind_seconds: must be 0 (never) or at least 60`,
      `${first + 14}:23 alerts.rules[1].window_seconds: breaker_open_seconds is a state of now and has no window`,
    ])
    expect(parts(fixed)).toEqual([
      `${first + 3}:13 alerts.webhooks[1].id: webhook pager is defined twice`,
      `${first + 8}:27 alerts.rules[0].notify[0].webhook: webhook nobody is not defined`,
      `${first + 8}:46 alerts.rules[0].notify[1].agent: agent nobody is not defined`,
      `${first + 9}:13 alerts.rules[1].name: rule many-dead is defined twice`,
    ])
  })

  test('a missing key points at the mapping that lacks it', () => {
    expect(places(GOOD.replace('    gateway: main\n', ''))).toEqual([expect.stringMatching(/^5:5 agents\[0\]\.gateway: /)])
  })

  test('a key given twice is refused where it stands', () => {
    expect(places(`${GOOD}    gateway: main\n`)).toEqual([expect.stringMatching(/^7:5 .*unique/)])
  })

  test('broken YAML, several documents and unknown tags are told with their place', () => {
    expect(places('agents: [\n')).toEqual([expect.stringMatching(/^\d+:\d+ /)])
    expect(places(`${GOOD}---\n${GOOD}`)).not.toEqual([])
    expect(places('agents: !!js/function "x"\n')).toEqual([expect.stringMatching(/^1:9 .*tag/)])
  })

  test('a fault behind an alias points at the anchor', () => {
    const text = 'gateways: []\nagents:\n  - &a { id: "bad id", gateway: main }\n  - *a\n'

    expect(places(text).filter((place) => place.includes('letters'))).toEqual([expect.stringMatching(/^3:14 agents\[0\]/), expect.stringMatching(/^3:14 agents\[1\]/)])
  })

  test('a bomb of aliases is refused', () => {
    const rows = Array.from(
      { length: 12 },
      (_, at) =>
        `a${at}: &a${at} [${Array(12)
          .fill(at === 0 ? 'x' : `*a${at - 1}`)
          .join(', ')}]`,
    )

    expect(places(rows.join('\n'))).toEqual([expect.stringContaining('alias')])
  })

  test.each(['', '# nothing\n', '[]', 'text'])('%j is no fleet', (text) => {
    expect(places(text)).toEqual(['1:1 must be a mapping with `gateways` and `agents`'])
  })

  test('a missing file, a folder, a huge file and one that is not UTF-8 are one clear error', async () => {
    const huge = join(folder, 'huge.yaml')
    const latin = join(folder, 'latin.yaml')
    await writeFile(huge, '')
    await truncate(huge, MAX_FLEET_BYTES + 1)
    await writeFile(latin, Buffer.from([0x61, 0xe4]))

    for (const path of [join(folder, 'missing.yaml'), folder, huge, latin]) {
      await expect(loadFleetFile(path)).rejects.toMatchObject({ code: 'AGENTBUS_CONFIG', message: expect.stringContaining(path) as string })
    }
  })
})
