import { option as o, type CommandRow } from '../command-row.js'
import { inNamespace } from './shared-options.js'

const group = 'Looking'

/** The commands that show jobs, their runs, and events. */
export const LOOKING_COMMANDS: readonly CommandRow[] = [
  {
    name: 'jobs',
    group,
    help: 'list jobs, newest first',
    method: 'GET',
    path: '/v1/jobs',
    show: 'jobs',
    paged: true,
    options: [
      inNamespace,
      o('target-agent', 'text', 'of this agent'),
      o('status', 'text', 'in this state'),
      o('flow-key', 'text', 'of this flow'),
      o('correlation-key', 'text', 'about this matter'),
      o('parent-job-id', 'text', 'that came from this job'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  { name: 'job', group, help: 'show one job', argument: 'job-id', method: 'GET', path: '/v1/jobs/{id}', show: 'job', options: [] },
  {
    name: 'result',
    group,
    help: 'show what came of a job, waiting for it with --wait',
    argument: 'job-id',
    method: 'GET',
    path: '/v1/jobs/{id}/result',
    show: 'result',
    waits: true,
    options: [o('wait', 'text', 'how long to wait for its end, such as 30s')],
  },
  {
    name: 'history',
    group,
    help: 'show everything that happened to a job',
    argument: 'job-id',
    method: 'GET',
    path: '/v1/jobs/{id}/history',
    show: 'history',
    options: [],
  },
  { name: 'attempt', group, help: 'show one run', argument: 'attempt-id', method: 'GET', path: '/v1/attempts/{id}', show: 'attempt', options: [] },
  { name: 'prompt', group, help: 'show what an attempt was sent', argument: 'attempt-id', method: 'GET', path: '/v1/attempts/{id}/prompt', show: 'prompt', options: [] },
  {
    name: 'events',
    group,
    help: 'list events',
    method: 'GET',
    path: '/v1/events',
    show: 'events',
    paged: true,
    options: [
      inNamespace,
      o('topic', 'text', 'a topic, or a pattern such as security.*'),
      o('source-job-id', 'text', 'from this job'),
      o('order', 'text', 'asc or desc'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
]

/** The whole story, over all areas; apart from the others, because it has another place in the table. */
export const TRACE_COMMANDS: readonly CommandRow[] = [
  {
    name: 'trace',
    group,
    help: 'the story of a job with its whole lineage, of a correlation key, or of an agent in a window',
    method: 'GET',
    path: '/v1/trace',
    show: 'trace',
    options: [
      o('job-id', 'text', 'of this job'),
      o('correlation-key', 'text', 'of everything with this key'),
      o('agent', 'text', 'what this agent was told, read, wrote and did'),
      o('from', 'text', 'from this time on (ISO 8601), for an agent'),
      o('to', 'text', 'until this time (default: now)'),
      o('prompts', 'text', 'true: with the bytes that the agents were sent, but for the tokens in them'),
    ],
  },
]
