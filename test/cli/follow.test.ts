import { describe, expect } from 'vitest'
import { test } from './fixtures.js'
import { problem, type Reply } from './stand-in.js'

const ENQUEUE = ['enqueue-job', '--target-agent', 'devops', '--subject', 'hello']
const ID = '0192f0c4-1111-7000-8000-00000000000a'

function job(status: string): Reply {
  return { status: 200, body: { id: ID, status } }
}

function history(status: string): Reply {
  const created = {
    seq: 1,
    kind: 'move',
    from_status: null,
    to_status: 'queued',
    reason: 'created',
    actor_kind: 'operator',
    actor: 'me',
    note: null,
    hash: 'ab',
    at: '2030-01-01T00:00:00Z',
  }
  const ended = { ...created, seq: 2, from_status: 'queued', to_status: status, reason: 'completed_by_agent' }
  const said = { ...ended, seq: 3, kind: 'note', reason: 'progress', note: 'half\nway' }
  return { status: 200, body: { job: { id: ID, status }, transitions: [created, ended, said], attempts: [], observations: [{ kind: 'refusal', code: 'AGENTBUS_FORBIDDEN' }] } }
}

describe('enqueue-job --follow', () => {
  test('waits until the job has ended and shows its whole history', async ({ api, cli }) => {
    api.answers(job('queued'), job('running'), job('succeeded'), history('succeeded'))

    const ran = await cli([...ENQUEUE, '--follow'])

    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/^2 .* queued → succeeded +completed_by_agent +operator me/m)
    expect(ran.stdout).toMatch(/^3 .* \(succeeded\) +progress +operator me +half way/m)
    expect(ran.stdout).toContain('AGENTBUS_FORBIDDEN')
    expect(api.seen.map((seen) => `${seen.method} ${seen.path}`)).toEqual(['POST /v1/jobs', ...Array<string>(2).fill(`GET /v1/jobs/${ID}`), `GET /v1/jobs/${ID}/history`])
  })

  test('a job that ended otherwise is no success', async ({ api, cli }) => {
    api.answers(job('dead'), history('dead'))

    expect(await cli([...ENQUEUE, '--follow'])).toMatchObject({ code: 1, stderr: 'agentbus: The job is dead.\n' })
  })

  test('a job that has not ended in time is no success, and the message says where to look', async ({ api, cli }) => {
    api.answers(job('queued'), history('queued'))

    const ran = await cli([...ENQUEUE, '--follow', '0', '--json'])

    expect(ran.code).toBe(1)
    expect(JSON.parse(ran.stdout)).toMatchObject({ job: { status: 'queued' } })
    expect(JSON.parse(ran.stderr)).toMatchObject({ detail: `The job is queued after 0 s. It goes on; see \`agentbus history ${ID}\`.` })
  })

  test('a job that can no longer be looked at is named, and nothing says to run the command again', async ({ api, cli }) => {
    api.answers(job('queued'))
    api.always(problem('AGENTBUS_UNAVAILABLE', 'The ledger cannot be reached.'))

    const ran = await cli([...ENQUEUE, '--follow', '--json'])

    expect(ran).toMatchObject({ code: 1, stdout: '' })
    expect(JSON.parse(ran.stderr)).toMatchObject({ code: 'AGENTBUS_UNAVAILABLE', job_id: ID, next: `The job was created; see \`agentbus history ${ID}\`.` })
    expect(api.seen.filter(({ method }) => method === 'POST')).toHaveLength(1)
  })

  test('and so it is when the token is refused meanwhile', async ({ api, cli }) => {
    api.answers(job('queued'), problem('AGENTBUS_UNAUTHORIZED', 'The token was revoked.'))

    const ran = await cli([...ENQUEUE, '--follow'])

    expect(ran).toEqual({ code: 1, stdout: '', stderr: `agentbus: The token was revoked. The job was created; see \`agentbus history ${ID}\`.\n` })
  })

  test('a wrong number of seconds is noticed before the job is created', async ({ api, cli }) => {
    expect((await cli([...ENQUEUE, '--follow', 'soon'])).code).toBe(2)
    expect(api.seen).toEqual([])
  })
})

describe('a wait that is too long', () => {
  for (const wait of ['301s', '6m', '40000m', '999999m']) {
    for (const argv of [
      ['result', ID],
      ['delegate', 'devops', 'Look.'],
    ]) {
      test(`of ${wait} is noticed by ${argv[0] ?? ''} before anything is sent`, async ({ api, cli }) => {
        expect(await cli([...argv, '--wait', wait])).toMatchObject({ code: 2, stdout: '', stderr: 'agentbus: --wait is at most five minutes. Nothing was sent.\n' })
        expect(api.seen).toEqual([])
      })
    }
  }

  test('is not one of five minutes', async ({ api, cli }) => {
    api.answers({ status: 200, body: { job_id: ID, status: 'succeeded', over: true } })

    expect((await cli(['result', ID, '--wait', '5m'])).code).toBe(0)
  })
})
