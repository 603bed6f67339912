import type { AgentView } from '../contracts/fleet.js'

export interface WelcomeFacts {
  readonly url: string
  readonly token: string
  /** A line for each default that was taken. */
  readonly announced: readonly string[]
  readonly agents: readonly Pick<AgentView, 'id' | 'enabled'>[]
}

/** What `agentbus up` says once everything runs, with a command to try that this fleet can carry out. */
export function welcome({ url, token, announced, agents }: WelcomeFacts): string {
  return `
agentbus is up.

  ${announced.join('\n  ')}

  API:     ${url}/v1        (OpenAPI: ${url}/v1/openapi.json)
  Board:   ${url}/board     (any user name; the token is the password)
  Token:   ${token}         (operator)

${trial({ url, token, agent: agentFor(agents) })}

Ctrl-C stops everything; the data stays.
`
}

/** One of those that a first start makes, or whoever is there. */
function agentFor(agents: WelcomeFacts['agents']): string | undefined {
  const able = agents.filter(({ enabled }) => enabled).map(({ id }): string => id)
  return able.find((id) => id === 'devops') ?? able[0]
}

function trial({ url, token, agent }: { readonly url: string; readonly token: string; readonly agent: string | undefined }): string {
  if (agent === undefined) return 'No agent is enabled: name some in a fleet file, and bring them in with `agentbus apply -f fleet.yaml`.'
  return `Try it: this enqueues a job and shows its whole history.

  AGENTBUS_URL=${url} AGENTBUS_TOKEN=${token} npx agentbus enqueue-job --target-agent ${agent} --subject "say hello" --follow`
}
