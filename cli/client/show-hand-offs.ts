import { oneLine, printable } from '../printable.js'
import { asObject, rowsOf, type Json } from './json.js'
import { fields, table, text } from './tables.js'

/** A blocked job as a line: who waits for what. */
export function blockedRow(job: Json): Json {
  return {
    id: job['id'],
    agent: job['target_agent'],
    since: job['blocked_at'],
    'waits for': waitOf(asObject(job['waits_for'])),
    owner: job['blocked_owner'],
    reason: job['blocked_reason'],
    escalates: job['escalate_at'],
  }
}

function waitOf(wait: Json): string {
  const what = wait['job_id'] ?? wait['topic'] ?? wait['approval_id'] ?? wait['agent']
  return what === undefined ? text(wait['kind']) : `${text(wait['kind'])} ${text(what)}`
}

/** The jobs as a tree with what each took, then everything in order of time. */
export function traceLines(body: Json): string {
  const jobs = asTree(rowsOf(body['jobs']))
  const starts = jobs.map((job) => Date.parse(text(job['created_at'])))
  const ends = jobs.map((job, at) => (typeof job['finished_at'] === 'string' ? Date.parse(job['finished_at']) : Math.max(...starts, starts[at] ?? 0)))
  const [from, to] = [Math.min(...starts), Math.max(...ends)]
  const tree = jobs.map((job, at) => ({
    job: `${'  '.repeat(Number(job['depth']))}${text(job['id'])}`,
    'from → to': `${text(job['source_agent'])} → ${text(job['target_agent'])}`,
    status: job['status'],
    needs: needsOf(job),
    subject: job['subject'],
    when: bar((starts[at] ?? from) - from, (ends[at] ?? to) - from, to - from),
  }))
  const entries = rowsOf(body['entries']).map((entry) => ({
    at: entry['at'],
    job: typeof entry['job_id'] === 'string' ? shortOf(entry['job_id']) : '-',
    agent: entry['agent'],
    what: entry['kind'] === 'job' ? entry['what'] : `${text(entry['kind'])} ${text(entry['what'])}`,
    by: entry['by'] === null ? '-' : `${text(asObject(entry['by'])['kind'])} ${text(asObject(entry['by'])['id'])}`,
    note: entry['note'],
  }))
  const head = typeof body['correlation_key'] === 'string' ? `Correlation ${body['correlation_key']}\n` : ''
  const more = body['truncated'] === true ? 'There is more than is shown.\n' : ''
  return `${head}${table(tree, ['job', 'from → to', 'status', ...(tree.some(({ needs }) => needs !== '-') ? ['needs'] : []), 'subject', 'when'])}\n${table(entries, ['at', 'job', 'agent', 'what', 'by', 'note'])}${more}${promptsOf(body)}`
}

/** What the job depends on, named as the entries name jobs. */
function needsOf(job: Json): string {
  const needs = Array.isArray(job['depends_on']) ? job['depends_on'].map((id) => shortOf(text(id))) : []
  return needs.length === 0 ? '-' : needs.join(', ')
}

/** The end of a job's id tells jobs of one story apart. */
function shortOf(id: string): string {
  return id.slice(-6)
}

/** The prompts of a trace that was asked for with them. */
function promptsOf(body: Json): string {
  return rowsOf(body['entries'])
    .flatMap((entry) => {
      const prompt = asObject(entry['details'])['prompt']
      return typeof prompt === 'string' ? [`\nPrompt of attempt ${oneLine(text(entry['attempt_id']))} of job ${oneLine(text(entry['job_id']))}:\n${printable(prompt)}\n`] : []
    })
    .join('')
}

/** Each job right below the one it came from; they come in order of time, in which those of two branches alternate. */
function asTree(jobs: readonly Json[]): Json[] {
  const known = new Set(jobs.map((job) => job['id']))
  const below = (parent: unknown): Json[] => jobs.filter((job) => job['parent_job_id'] === parent).flatMap((job) => [job, ...below(job['id'])])
  return jobs.filter((job) => !known.has(job['parent_job_id'])).flatMap((job) => [job, ...below(job['id'])])
}

const BAR_CHARS = 30

/** Where in the whole time something lay, as a bar. */
function bar(fromMs: number, toMs: number, wholeMs: number): string {
  const at = (ms: number): number => Math.round((ms / Math.max(wholeMs, 1)) * (BAR_CHARS - 1))
  const [start, end] = [at(fromMs), Math.max(at(toMs), at(fromMs))]
  return `${' '.repeat(start)}${'█'.repeat(end - start + 1)}${' '.repeat(BAR_CHARS - 1 - end)} ${(toMs - fromMs) / 1_000} s`
}

export function workflowLines(body: Json): string {
  const definition = asObject(body['definition'])
  const steps = rowsOf(definition['steps']).map((step) => ({
    ...step,
    who: step['agent'] ?? (step['approval'] === undefined ? text(step['capabilities']) : 'approval'),
    needs: Array.isArray(step['needs']) ? step['needs'].join(', ') : '',
  }))
  return `${fields({ ...body, description: definition['description'], inputs: definition['inputs'], outputs: definition['outputs'] }, ['name', 'namespace', 'version', 'description', 'inputs', 'outputs', 'created_by', 'created_at'])}\n${table(steps, ['id', 'who', 'needs', 'if', 'on_failure'])}`
}

export function runLines(body: Json): string {
  const run = asObject(body['run'])
  const left = Array.isArray(body['still_running']) && body['still_running'].length > 0 ? `Still running: ${body['still_running'].join(', ')}\n` : ''
  return [
    fields(run, ['id', 'workflow', 'workflow_version', 'status', 'inputs', 'outputs', 'correlation_key', 'last_error', 'created_by', 'created_at', 'finished_at']),
    'Steps',
    table(rowsOf(body['steps']), ['step', 'status', 'agent', 'job_status', 'job_id', 'approval_id', 'reason']),
    'History',
    `${table(rowsOf(body['transitions']), ['seq', 'at', 'step', 'from_status', 'to_status', 'actor', 'reason'])}${left}`,
  ].join('\n')
}
