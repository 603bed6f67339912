/** How an option's value becomes a field of the request. */
export type OptionType = 'text' | 'int' | 'json' | 'list' | 'flag'

export interface OptionRow {
  readonly flag: string
  readonly field: string
  readonly type: OptionType
  readonly help: string
  readonly required?: true
}

/** A client command as data: what it is called, what it takes, which request it makes, how its answer is shown. */
export interface CommandRow {
  readonly name: string
  readonly group: string
  readonly help: string
  /** The name of the positional argument, placed into `{id}` of the path. */
  readonly argument?: string
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly options: readonly OptionRow[]
  readonly show: 'job' | 'jobs' | 'history' | 'event' | 'events' | 'agents' | 'table' | 'attempt' | 'prompt' | 'token' | 'plain'
  /** `--if-version` makes it conditional. */
  readonly conditional?: true
}

const o = (flag: string, type: OptionType, help: string, required?: true): OptionRow => ({
  flag,
  field: flag.replaceAll('-', '_'),
  type,
  help,
  ...(required === undefined ? {} : { required }),
})

const reference = [o('openclaw-task-ref', 'text', 'reference of the run at the gateway'), o('openclaw-session-key', 'text', 'session the run belongs to')]
const closing = [
  o('summary', 'text', 'what was done, for people'),
  o('result', 'json', 'result as a JSON object'),
  ...reference,
  o('events', 'json', 'events to emit in the same transaction, a JSON array'),
  o('follow-ups', 'json', 'jobs to create in the same transaction, a JSON array'),
]
const reason = [o('reason', 'text', 'why; kept in the history', true)]
const namespace = o('namespace', 'text', 'namespace (default: default)')

export const COMMANDS: readonly CommandRow[] = [
  {
    name: 'enqueue-job',
    group: 'Work',
    help: 'enqueue a job for an agent',
    method: 'POST',
    path: '/v1/jobs',
    show: 'job',
    options: [
      namespace,
      o('target-agent', 'text', 'who does it', true),
      o('subject', 'text', 'what it is about, in one line', true),
      o('job-type', 'text', 'kind of work (default: reactive)'),
      o('lane', 'text', 'reactive, scheduled, proactive, memory, idle or coding'),
      o('priority', 'int', '1 to 1000; 1000 is most urgent (default: 100)'),
      o('payload', 'json', 'payload as a JSON object'),
      o('state', 'json', 'state as a JSON object'),
      o('dedupe-key', 'text', 'while a job with this key is open, no second one is created'),
      o('run-after', 'text', 'not before this time (ISO 8601)'),
      o('max-attempts', 'int', 'attempts that may fail before it is dead (default: 5)'),
      o('timeout-seconds', 'int', 'how long one run may take'),
      o('lease-seconds', 'int', 'how long an attempt may go without a renewal'),
      o('on-lost', 'text', 'retry or block when nobody can say what a lost run did'),
      o('parent-job-id', 'text', 'the job it came from'),
      o('flow-key', 'text', 'groups jobs of one flow'),
      o('correlation-key', 'text', 'groups everything about one matter'),
      o('source-agent', 'text', 'who asks for it'),
      o('depends-on', 'list', 'a job that must succeed first; may be repeated'),
      o('on-dependency-death', 'text', 'block, cancel or run when a dependency dies'),
    ],
  },
  {
    name: 'claim-jobs',
    group: 'Work',
    help: 'lease due jobs by hand; each comes with the token that alone may close it',
    method: 'POST',
    path: '/v1/jobs/claim',
    show: 'plain',
    options: [
      namespace,
      o('lease-owner', 'text', 'who leases', true),
      o('lease-seconds', 'int', 'default: 600'),
      o('limit', 'int', 'how many at most (default: 1)'),
      o('target-agent', 'text', 'only jobs of this agent'),
    ],
  },
  {
    name: 'requeue-expired',
    group: 'Work',
    help: 'queue again every job whose lease has run out',
    method: 'POST',
    path: '/v1/jobs/requeue-expired',
    show: 'jobs',
    options: [namespace, o('limit', 'int', 'default: 1000')],
  },
  {
    name: 'emit-event',
    group: 'Work',
    help: 'append a fact',
    method: 'POST',
    path: '/v1/events',
    show: 'event',
    options: [
      namespace,
      o('topic', 'text', 'dot-separated words', true),
      o('source-agent', 'text', 'who says it'),
      o('source-job-id', 'text', 'the job it comes from'),
      o('dedupe-key', 'text', 'the same fact twice is one row'),
      o('correlation-key', 'text', 'groups everything about one matter'),
      o('payload', 'json', 'payload as a JSON object'),
    ],
  },
  {
    name: 'mark-running-job',
    group: 'Own job',
    help: 'say that the work has begun',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/mark-running',
    show: 'job',
    options: [...reference, o('openclaw-meta', 'json', 'what is known of the run'), o('summary', 'text', 'where it stands')],
  },
  { name: 'complete-job', group: 'Own job', help: 'close as done', argument: 'job-id', method: 'POST', path: '/v1/jobs/{id}/complete', show: 'job', options: closing },
  {
    name: 'block-job',
    group: 'Own job',
    help: 'close as blocked, saying what is missing',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/block',
    show: 'job',
    options: [
      o('blocked-reason', 'text', 'what is missing', true),
      o('blocked-owner', 'text', 'who can give it'),
      o('unblock-action', 'text', 'what would unblock it'),
      o('look-again-at', 'text', 'when to try by itself (ISO 8601)'),
      o('waits-for', 'json', 'what resumes it, e.g. {"kind":"event","topic":"x.done"}'),
      ...closing,
    ],
  },
  {
    name: 'fail-job',
    group: 'Own job',
    help: 'close as failed: for good, or with --retry-seconds for a retry',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/fail',
    show: 'job',
    options: [o('last-error', 'text', 'what went wrong', true), o('retry-seconds', 'int', 'try again after so many seconds'), ...closing],
  },
  {
    name: 'renew-job-lease',
    group: 'Own job',
    help: 'ask for more time',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/renew',
    show: 'attempt',
    options: [o('lease-seconds', 'int', 'from now (default: 600)')],
  },
  {
    name: 'progress-job',
    group: 'Own job',
    help: 'append a note to the history',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/progress',
    show: 'job',
    options: [o('note', 'text', 'where it stands', true), o('details', 'json', 'more, as a JSON object')],
  },
  {
    name: 'cancel-job',
    group: 'Operating',
    help: 'cancel an open job',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/cancel',
    show: 'job',
    options: reason,
    conditional: true,
  },
  {
    name: 'retry-job',
    group: 'Operating',
    help: 'queue a failed, dead, cancelled, blocked or waiting job again',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/retry',
    show: 'job',
    options: [...reason, o('extra-attempts', 'int', 'room for more attempts (default: 1)'), o('run-after', 'text', 'not before this time (ISO 8601)')],
    conditional: true,
  },
  {
    name: 'bury-job',
    group: 'Operating',
    help: 'lay a dead letter to rest',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/bury',
    show: 'job',
    options: reason,
    conditional: true,
  },
  {
    name: 'promote-job',
    group: 'Operating',
    help: 'make a delayed job due now',
    argument: 'job-id',
    method: 'POST',
    path: '/v1/jobs/{id}/promote',
    show: 'job',
    options: reason,
    conditional: true,
  },
  {
    name: 'pause-agent',
    group: 'Operating',
    help: 'start nothing new for an agent',
    argument: 'agent',
    method: 'POST',
    path: '/v1/agents/{id}/pause',
    show: 'plain',
    options: reason,
  },
  { name: 'resume-agent', group: 'Operating', help: 'let an agent work again', argument: 'agent', method: 'POST', path: '/v1/agents/{id}/resume', show: 'plain', options: reason },
  {
    name: 'jobs',
    group: 'Looking',
    help: 'list jobs, newest first',
    method: 'GET',
    path: '/v1/jobs',
    show: 'jobs',
    options: [
      namespace,
      o('target-agent', 'text', 'of this agent'),
      o('status', 'text', 'in this state'),
      o('flow-key', 'text', 'of this flow'),
      o('correlation-key', 'text', 'about this matter'),
      o('parent-job-id', 'text', 'that came from this job'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  { name: 'job', group: 'Looking', help: 'show one job', argument: 'job-id', method: 'GET', path: '/v1/jobs/{id}', show: 'job', options: [] },
  {
    name: 'history',
    group: 'Looking',
    help: 'show everything that happened to a job',
    argument: 'job-id',
    method: 'GET',
    path: '/v1/jobs/{id}/history',
    show: 'history',
    options: [],
  },
  { name: 'attempt', group: 'Looking', help: 'show one run', argument: 'attempt-id', method: 'GET', path: '/v1/attempts/{id}', show: 'attempt', options: [] },
  { name: 'prompt', group: 'Looking', help: 'show what an attempt was sent', argument: 'attempt-id', method: 'GET', path: '/v1/attempts/{id}/prompt', show: 'prompt', options: [] },
  {
    name: 'events',
    group: 'Looking',
    help: 'list events',
    method: 'GET',
    path: '/v1/events',
    show: 'events',
    options: [
      namespace,
      o('topic', 'text', 'a topic, or a pattern such as security.*'),
      o('source-job-id', 'text', 'from this job'),
      o('order', 'text', 'asc or desc'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  { name: 'agents', group: 'Looking', help: 'list agents with their state', method: 'GET', path: '/v1/agents', show: 'agents', options: [] },
  { name: 'gateways', group: 'Looking', help: 'list gateways with their breakers', method: 'GET', path: '/v1/gateways', show: 'table', options: [] },
  { name: 'dispatchers', group: 'Looking', help: 'list worker processes', method: 'GET', path: '/v1/dispatchers', show: 'table', options: [] },
  { name: 'health', group: 'Looking', help: 'what is open, the outbox, gateways, workers', method: 'GET', path: '/v1/health', show: 'plain', options: [] },
]
