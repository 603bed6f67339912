import { describe, expect, test } from 'vitest'
import { parseBoardAction } from '../../board/board-commands.js'
import { isCode } from '../../contracts/errors.js'

const ENTRY = '01890a5d-ac96-774b-bcce-b302099a8057-g1'

describe("a click at Bull Board's page", () => {
  test.each([
    [`/api/queues/agent-devops/${ENTRY}/retry/failed`, { kind: 'retry', queue: 'agent-devops', entry: ENTRY }],
    [`/api/queues/agent-devops/${ENTRY}/retry/completed`, { kind: 'retry', queue: 'agent-devops', entry: ENTRY }],
    [`/api/queues/agent-devops/${ENTRY}/promote`, { kind: 'promote', queue: 'agent-devops', entry: ENTRY }],
    [`/api/queues/agent-devops/${ENTRY}/clean`, { kind: 'remove', queue: 'agent-devops', entry: ENTRY }],
    ['/api/queues/agent-devops/retry/failed', { kind: 'retry_all', queue: 'agent-devops' }],
    ['/api/queues/agent-devops/promote', { kind: 'promote_all', queue: 'agent-devops' }],
    ['/api/queues/agent-devops/clean/failed', { kind: 'clean', queue: 'agent-devops', status: 'failed' }],
    ['/api/queues/agent-devops/pause', { kind: 'pause', queue: 'agent-devops' }],
    ['/api/queues/agent-dev%20ops/resume', { kind: 'resume', queue: 'agent-dev ops' }],
    ['/api/queues/pause', { kind: 'pause_everything' }],
    ['/api/queues/resume', { kind: 'resume_everything' }],
  ])('on %s is understood', (path, action) => {
    expect(parseBoardAction('PUT', path)).toEqual(action)
  })

  test.each([
    ['PUT', '/api/queues/agent-devops/retry/completed'],
    ['PUT', '/api/queues/agent-devops/clean/delayed'],
    ['PUT', '/api/queues/agent-devops/empty'],
    ['PUT', '/api/queues/agent-devops/concurrency'],
    ['POST', '/api/queues/agent-devops/pause'],
    ['PUT', '/api/queues'],
  ])('with %s %s is none that the board may do', (method, path) => {
    expect(parseBoardAction(method, path)).toBeUndefined()
  })

  test.each(['/api/queues/%zz/pause', `/api/queues/%E0%A4%A/${ENTRY}/retry/failed`, '/api/queues/agent-devops/%zz/promote', '/api/queues/agent-devops/%/clean'])(
    'on %s is a bad request',
    (path) => {
      const refused = attempt(() => parseBoardAction('PUT', path))

      expect(isCode(refused, 'AGENTBUS_BAD_REQUEST')).toBe(true)
    },
  )
})

function attempt(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}
