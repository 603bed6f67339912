import { AgentbusError, type ErrorCode } from '../contracts/errors.js'
import type { AppendProjectLogBody, ProjectLogEntryView, ProjectName, ProjectStatusView, SetProjectStatusBody } from '../contracts/projects.js'
import { asCaller, type CallerDeps, type CallerRun } from './as-caller.js'
import type { Caller, CommandContext } from './caller.js'
import type { Tx } from './database.js'
import { requireRight } from './policies.js'
import { appendProjectLog, writeProjectStatus } from './projects.js'

const LEAVES_A_ROW: ReadonlySet<ErrorCode> = new Set(['AGENTBUS_UNAUTHORIZED', 'AGENTBUS_FORBIDDEN', 'AGENTBUS_VERSION_MISMATCH', 'AGENTBUS_LIMIT_REACHED'])

/** What is written about projects: everyone appends to the log, one role writes the status. An attempt may do what its agent may, as long as it is open. */
export class ProjectCommands {
  readonly #deps: CallerDeps

  constructor(deps: CallerDeps) {
    this.#deps = deps
  }

  /** Appends an entry in the caller's own name. @throws AGENTBUS_FORBIDDEN for auditors, AGENTBUS_LIMIT_REACHED, each with a row */
  append(context: CommandContext, project: ProjectName, body: AppendProjectLogBody): Promise<{ entry: ProjectLogEntryView; replayed?: boolean }> {
    const { caller } = context
    const work = async (tx: Tx, by: CallerRun): Promise<{ entry: ProjectLogEntryView }> => {
      if (caller.role === 'auditor') throw new AgentbusError('AGENTBUS_FORBIDDEN', 'An auditor may read, not write.', { role: caller.role })
      return { entry: await appendProjectLog(tx, project, body, { ...by, agentId: agentOf(caller) }) }
    }
    return asCaller(this.#deps, context, LEAVES_A_ROW, work, { sent: body })
  }

  /**
   * Writes the next version of a project's status; with If-Match only on that version.
   * @throws AGENTBUS_FORBIDDEN unless `authority.project_status` names the caller's agent, AGENTBUS_VERSION_MISMATCH
   */
  setStatus(context: CommandContext, project: ProjectName, body: SetProjectStatusBody): Promise<{ status: ProjectStatusView; replayed?: boolean }> {
    const { caller, ifVersion } = context
    return asCaller(this.#deps, context, LEAVES_A_ROW, async (tx, by) => {
      await requireRight(tx, caller, 'project_status', `write the status of project ${project}`)
      return { status: await writeProjectStatus(tx, project, body, { ...by, agentId: agentOf(caller), ifVersion }) }
    })
  }
}

function agentOf(caller: Caller): string | undefined {
  return caller.role === 'agent' || caller.role === 'attempt' ? caller.agentId : undefined
}
