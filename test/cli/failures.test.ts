import { describe, expect } from 'vitest'
import { EXIT, EXIT_MEANINGS } from '../../cli/exit-codes.js'
import { ERRORS, type ErrorCode } from '../../contracts/errors.js'
import { problem, run, TOKEN } from './stand-in.js'
import { test } from './fixtures.js'

const ID = '0192f0c4-1111-7000-8000-00000000000a'
const ATTEMPT_TOKEN = 'aat_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw'

/** The table of the brief; 503 is in retries.test.ts. */
const EXITS: Readonly<Record<number, number>> = { 400: 2, 401: 4, 403: 4, 404: 3, 410: 3, 405: 2, 409: 5, 412: 5, 413: 2, 415: 2, 422: 2, 429: 7, 500: 1 }

describe('exit codes', () => {
  const codes = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => ERRORS[code].status !== 503)
  for (const code of codes) {
    test(`${code} (${ERRORS[code].status}) exits with ${EXITS[ERRORS[code].status]}, in one line that says what to do`, async ({ api, cli }) => {
      api.always(problem(code, 'What happened.'))

      const ran = await cli(['complete-job', ID])

      expect(ran).toEqual({ code: EXITS[ERRORS[code].status], stdout: '', stderr: `agentbus: What happened. ${ERRORS[code].next}\n` })
      expect(api.seen.length).toBe(1)
    })
  }

  test('each has a meaning, and --help shows it', async () => {
    const { stdout } = await run(['--help'])

    for (const [name, code] of Object.entries(EXIT)) expect(stdout).toContain(`  ${code}  ${EXIT_MEANINGS[name as keyof typeof EXIT]}`)
  })
})

describe('input that the API finds wrong', () => {
  test('every fault is named, in one line', async ({ api, cli }) => {
    const errors = [
      { path: 'body.priority', message: 'Too big' },
      { path: 'body.lane', message: 'Invalid option' },
    ]
    api.always({ status: 400, body: { code: 'AGENTBUS_BAD_REQUEST', detail: 'body.priority: Too big', next: 'Correct them.', errors } })

    const ran = await cli(['enqueue-job', '--target-agent', 'devops', '--subject', 'x', '--priority', '9999', '--lane', 'fast'])

    expect(ran).toEqual({ code: 2, stdout: '', stderr: 'agentbus: body.priority: Too big; body.lane: Invalid option. Correct them.\n' })
  })
})

describe('with --json', () => {
  test('the problem document goes to stderr as it came, and stdout stays empty', async ({ api, cli }) => {
    api.always(problem('AGENTBUS_STALE_ATTEMPT', 'A newer attempt owns the job.'))

    const ran = await cli(['complete-job', ID, '--json'])

    expect(ran).toMatchObject({ code: 5, stdout: '' })
    expect(JSON.parse(ran.stderr)).toMatchObject({ code: 'AGENTBUS_STALE_ATTEMPT', status: 409, detail: 'A newer attempt owns the job.', instance: 'req-1' })
  })

  for (const argv of [['complete-job'], ['complete-job', ID, '--nonsense'], ['complete-job', '..'], ['nonsense'], ['token']]) {
    test(`a mistake in \`${argv.join(' ')}\` is one JSON document on stderr too`, async ({ cli }) => {
      const ran = await cli([...argv, '--json'])

      expect(ran).toMatchObject({ code: 2, stdout: '' })
      expect(JSON.parse(ran.stderr)).toMatchObject({ exit_code: 2, detail: expect.any(String) })
    })
  }
})

describe('wrong command lines', () => {
  const lines: readonly [readonly string[], string][] = [
    [['complete-jub', ID], "agentbus: unknown command 'complete-jub'. Did you mean complete-job? See `agentbus --help`.\n"],
    [['complete-job', ID, '--sumary', 'x'], "agentbus: unknown option '--sumary'. Did you mean --summary? See `agentbus complete-job --help`.\n"],
    [['complete-job'], "agentbus: missing required argument 'job-id'. See `agentbus complete-job --help`.\n"],
    [['complete-job', ID, 'more'], "agentbus: too many arguments for 'complete-job'. Expected 1 argument but got 2. See `agentbus complete-job --help`.\n"],
    [['block-job', ID], "agentbus: required option '--blocked-reason <text>' not specified. See `agentbus block-job --help`.\n"],
  ]
  for (const [argv, line] of lines) {
    test(`${argv.join(' ')}: what is wrong, what may be meant, where to look`, async ({ cli }) => {
      expect(await cli(argv)).toEqual({ code: 2, stdout: '', stderr: line })
    })
  }

  test('no command shows the help, on stderr', async () => {
    const ran = await run([])

    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toMatch(/^Own job:$/m)
  })

  test('--help groups the commands and is no error', async () => {
    const { code, stdout, stderr } = await run(['--help'])

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const group of ['Work', 'Own job', 'Operating', 'Looking', 'Agents']) expect(stdout).toMatch(new RegExp(`^${group}:$`, 'm'))
    expect(stdout).not.toContain('\u001b')
  })
})

describe('settings of a client', () => {
  const wrong: readonly [string, Record<string, string | undefined>, number][] = [
    ['no token', { AGENTBUS_TOKEN: undefined }, 4],
    ['an empty token', { AGENTBUS_TOKEN: '' }, 4],
    ['a token with a line break', { AGENTBUS_TOKEN: `${TOKEN}\nx` }, 2],
    ['an empty URL', { AGENTBUS_URL: '' }, 2],
    ['a URL of another kind', { AGENTBUS_URL: 'ftp://127.0.0.1' }, 2],
    ['a URL with a password', { AGENTBUS_URL: 'http://me:secretpassword@127.0.0.1:1' }, 2],
  ]
  for (const [what, env, code] of wrong) {
    test(`${what} is refused before anything is sent, and not repeated`, async ({ api, cli }) => {
      const ran = await cli(['agents'], { env })

      expect(ran).toMatchObject({ code, stdout: '' })
      expect(ran.stderr).toMatch(/^agentbus: [^\n]+\n$/)
      expect(ran.stderr).not.toMatch(/secretpassword|abt_0/)
      expect(api.seen).toEqual([])
    })
  }

  for (const key of ['', 'two words', 'line\nbreak', 'ä', 'x'.repeat(201)]) {
    test(`the idempotency key ${JSON.stringify(key.slice(0, 12))} is refused before anything is sent`, async ({ api, cli }) => {
      expect((await cli(['complete-job', ID, '--idempotency-key', key])).code).toBe(2)
      expect(api.seen).toEqual([])
    })
  }
})

describe('answers of something else', () => {
  for (const body of ['<html>Welcome</html>', '', '[]', '"ok"']) {
    test(`a 200 with ${JSON.stringify(body)} is no success: nothing was recorded`, async ({ api, cli }) => {
      api.always({ status: 200, body, type: 'text/html' })

      const ran = await cli(['complete-job', ID])

      expect(ran).toMatchObject({ code: 1, stdout: '' })
      expect(ran.stderr).toContain('not as agentbus does')
    })
  }

  for (const [status, code] of [
    [404, 1],
    [409, 1],
    [401, 4],
    [429, 7],
    [500, 1],
  ] as const) {
    test(`a ${status} without a problem document exits with ${code}: only agentbus can say that a job is gone`, async ({ api, cli }) => {
      api.always({ status, body: 'nginx', type: 'text/plain' })

      expect((await cli(['complete-job', ID])).code).toBe(code)
    })
  }

  test('a redirect is not followed, so the token goes nowhere else', async ({ api, cli }) => {
    api.always({ status: 307, body: {}, headers: { location: `${api.url}/elsewhere` } })

    expect((await cli(['complete-job', ID])).code).toBe(1)
    expect(api.seen.map((seen) => seen.path)).toEqual([`/v1/jobs/${ID}/complete`])
  })
})

describe('secrets', () => {
  const told = `You sent ${TOKEN} and ${ATTEMPT_TOKEN} and a-plain-secret-token`

  test('tokens are cut out of whatever a server says', async ({ api, cli }) => {
    api.always(problem('AGENTBUS_FORBIDDEN', told))

    for (const json of [[], ['--json']]) {
      const ran = await cli(['complete-job', ID, '--token', 'a-plain-secret-token', ...json])

      expect(ran.stderr).toContain('You sent')
      expect(ran.stderr).not.toMatch(/abt_0|aat_A|a-plain-secret/)
    }
  })

  test('tokens are cut out of what a mistyped command line is answered with', async () => {
    for (const argv of [
      ['job', ID, `--tokn=${ATTEMPT_TOKEN}`],
      ['job', ID, ATTEMPT_TOKEN],
      [ATTEMPT_TOKEN],
      ['job', ATTEMPT_TOKEN, '--token=a-plain-secret-token'],
      ['complete-job', ID, '--result', ATTEMPT_TOKEN, '--token', 'x'],
    ]) {
      const ran = await run(argv)

      expect(ran.code).toBe(2)
      expect(ran.stderr).not.toMatch(/aat_A|a-plain-secret/)
    }
  })

  test('what a server says stays one line and cannot steer the terminal', async ({ api, cli }) => {
    api.always(problem('AGENTBUS_FORBIDDEN', 'first\nagentbus: all is well\u001b[2J\u009b1m'))

    const ran = await cli(['complete-job', ID])

    expect(ran.stderr.split('\n')).toHaveLength(2)
    expect(ran.stderr).not.toMatch(/[\u001b\u009b]/)
  })
})
