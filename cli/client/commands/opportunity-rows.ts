import { option as o, type CommandRow } from '../command-row.js'
import { inNamespace, namespace } from './shared-options.js'

const group = 'Opportunities'
const argument = 'opportunity-id'

/** The commands about opportunities: everyone proposes, a few decide, and turn what is worth it into work. */
export const OPPORTUNITY_COMMANDS: readonly CommandRow[] = [
  {
    name: 'create-opportunity',
    group,
    help: 'propose something to be decided about, with scores and the next step',
    method: 'POST',
    path: '/v1/opportunities',
    show: 'opportunity',
    options: [
      namespace,
      o('source-agent', 'text', 'whose proposal it is; an agent proposes in its own name'),
      o('theme', 'text', 'what it is about, in a word or two', true),
      o('title', 'text', 'the proposal in one line', true),
      o('why-now', 'text', 'why it should be decided about now', true),
      o('evidence', 'json', 'what speaks for it, as a JSON object'),
      o('impact-score', 'int', '1 to 5', true),
      o('confidence-score', 'int', '1 to 5', true),
      o('urgency-score', 'int', '1 to 5', true),
      o('reversibility', 'text', 'how easily it is undone: high, medium or low', true),
      o('owner-candidate', 'text', 'the agent that could own it'),
      o('suggested-next-step', 'text', 'the smallest useful next step', true),
      o('dedupe-key', 'text', 'while an opportunity of this agent with the key is open, no second one is made'),
    ],
  },
  {
    name: 'opportunities',
    group,
    help: 'list opportunities, newest first',
    method: 'GET',
    path: '/v1/opportunities',
    show: 'opportunities',
    paged: true,
    options: [
      inNamespace,
      o('status', 'text', 'new, triaged, accepted, rejected, parked or converted_to_job'),
      o('open', 'text', 'true: those that are new, triaged, accepted or parked'),
      o('source-agent', 'text', 'of this agent'),
      o('theme', 'text', 'about this theme'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  {
    name: 'opportunity',
    group,
    help: 'show one opportunity with all its reviews',
    argument,
    method: 'GET',
    path: '/v1/opportunities/{id}',
    show: 'opportunity-history',
    options: [],
  },
  {
    name: 'triage-opportunity',
    group,
    help: 'decide about an opportunity; for operators and the agents of authority.triage',
    argument,
    method: 'POST',
    path: '/v1/opportunities/{id}/triage',
    show: 'opportunity',
    options: [o('decision', 'text', 'triaged, accepted, rejected or parked', true), o('notes', 'text', 'why; kept in the history, and needed to reject')],
    conditional: true,
  },
  {
    name: 'convert-opportunity',
    group,
    help: 'make a job of an opportunity; for operators and the agents of authority.convert',
    argument,
    method: 'POST',
    path: '/v1/opportunities/{id}/convert',
    show: 'converted-opportunity',
    options: [
      o('target-agent', 'text', 'who does it', true),
      o('subject', 'text', 'what the job is about, in one line', true),
      o('job-type', 'text', 'kind of work (default: proactive)'),
      o('priority', 'int', '1 to 1000; 1000 is most urgent (default: 100)'),
      o('payload', 'json', 'more for the agent, beside what the opportunity says, as a JSON object'),
      o('notes', 'text', 'why; kept in the history'),
    ],
    conditional: true,
  },
]
