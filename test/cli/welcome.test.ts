import { describe, expect, test } from 'vitest'
import { welcome } from '../../cli/welcome.js'
import type { AgentId } from '../../contracts/ids.js'

function said(...agents: readonly { readonly id: string; readonly enabled: boolean }[]): string {
  return welcome({ url: 'http://127.0.0.1:7717', token: 'abt_x', announced: ['Ledger:  here'], agents: agents.map(({ id, enabled }) => ({ id: id as AgentId, enabled })) })
}

describe('the command to try', () => {
  test('names devops where it is, as on a first start', () => {
    expect(said({ id: 'auditor', enabled: true }, { id: 'devops', enabled: true })).toContain('enqueue-job --target-agent devops --subject')
  })

  test('names another agent where devops is not enabled', () => {
    expect(said({ id: 'devops', enabled: false }, { id: 'writer', enabled: true })).toContain('enqueue-job --target-agent writer --subject')
  })

  test('is none where there is no such agent', () => {
    const text = said({ id: 'devops', enabled: false })

    expect(text).not.toContain('enqueue-job')
    expect(text).toContain('agentbus apply')
  })
})
