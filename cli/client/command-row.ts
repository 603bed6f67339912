/** How an option's value becomes a field of the request. `text-or-none` makes null of the word `none`: it takes away what is there. */
export type OptionType = 'text' | 'text-or-none' | 'int' | 'json' | 'list'

export interface OptionRow {
  readonly flag: string
  readonly field: string
  readonly type: OptionType
  readonly help: string
  readonly required?: true
  /** Part of the address, also where the request has a body. */
  readonly inQuery?: true
}

/** The shows of ideas, opportunities and memories: they are many, and are made apart. */
export type ThoughtKind =
  | 'idea'
  | 'ideas'
  | 'idea-history'
  | 'promoted-idea'
  | 'opportunity'
  | 'opportunities'
  | 'opportunity-history'
  | 'converted-opportunity'
  | 'memory-candidate'
  | 'memory-candidates'
  | 'memory-candidate-history'
  | 'promoted-memory-candidate'
  | 'memory'
  | 'memories'
  | 'memory-history'

/** How an answer is shown to people. */
export type ShowKind =
  | 'job'
  | 'jobs'
  | 'graph'
  | 'claimed'
  | 'history'
  | 'event'
  | 'events'
  | 'agents'
  | 'paused'
  | 'gateways'
  | 'lanes'
  | 'dispatchers'
  | 'health'
  | 'attempt'
  | 'prompt'
  | 'orders'
  | 'order-change'
  | 'slots'
  | 'slot'
  | 'accountability'
  | 'filed'
  | 'finding'
  | 'findings'
  | 'finding-history'
  | 'inbox'
  | 'result'
  | 'blocked'
  | 'subscriptions'
  | 'reactions'
  | 'approval'
  | 'approvals'
  | 'approval-history'
  | 'trace'
  | 'workflow'
  | 'workflows'
  | 'workflow-run'
  | 'workflow-runs'
  | 'projects'
  | 'project-log'
  | 'project-entry'
  | 'project-status'
  | 'project-statuses'
  | ThoughtKind
  | 'control'
  | 'controls'
  | 'control-changes'
  | 'cancelled-flow'
  | 'alert'
  | 'alerts'
  | 'alert-history'
  | 'alert-deliveries'
  | 'silence'
  | 'silences'

/** A client command as data: what it is called, what it takes, which request it makes, how its answer is shown. */
export interface CommandRow {
  readonly name: string
  readonly group: string
  readonly help: string
  /** The name of the positional argument, placed where the path has its parameter; `agent/name` into `{agent}/{name}`. */
  readonly argument?: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly options: readonly OptionRow[]
  /** Fields that every request of the command has. */
  readonly fixed?: Readonly<Record<string, unknown>>
  readonly show: ShowKind
  /** `--if-version` makes it conditional. */
  readonly conditional?: true
  /** `--all` follows the cursors. */
  readonly paged?: true
  /** The command ends with exit code 1 when the answer reports such a finding. */
  readonly failsOn?: 'missed'
  /** `--wait` makes the API answer later. */
  readonly waits?: true
  /** `--follow` waits for the job that was made. */
  readonly follows?: true
}

/** One option; its field in the request is the flag with underscores. */
export function option(flag: string, type: OptionType, help: string, required?: true): OptionRow {
  return { flag, field: flag.replaceAll('-', '_'), type, help, ...(required === undefined ? {} : { required }) }
}
