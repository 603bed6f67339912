import { option as o, type CommandRow } from '../command-row.js'
import { inNamespace, namespace } from './shared-options.js'

const group = 'Ideas'
const argument = 'idea-id'
const notes = o('notes', 'text', 'why; kept in the history')

/** The commands about ideas: everyone notes them and reads those of the others. */
export const IDEA_COMMANDS: readonly CommandRow[] = [
  {
    name: 'create-idea',
    group,
    help: 'note an idea; no scores, no promise',
    method: 'POST',
    path: '/v1/ideas',
    show: 'idea',
    options: [
      namespace,
      o('source-agent', 'text', 'whose idea it is; an agent notes its own'),
      o('theme', 'text', 'what it is about, in a word or two', true),
      o('title', 'text', 'the idea in one line', true),
      o('body', 'text', 'the whole of it', true),
      o('tags', 'json', 'words to find it by, a JSON array of texts'),
      o('evidence', 'json', 'what speaks for it, as a JSON object'),
      o('dedupe-key', 'text', 'while an idea of this agent with the key is open, no second one is noted'),
    ],
  },
  {
    name: 'ideas',
    group,
    help: 'list ideas, newest first',
    method: 'GET',
    path: '/v1/ideas',
    show: 'ideas',
    paged: true,
    options: [
      inNamespace,
      o('status', 'text', 'new, reviewed, promoted_to_opportunity or archived'),
      o('source-agent', 'text', 'of this agent'),
      o('theme', 'text', 'about this theme'),
      o('tag', 'text', 'with this tag'),
      o('limit', 'int', 'how many (default: 50)'),
      o('cursor', 'text', 'where the last page ended'),
    ],
  },
  { name: 'idea', group, help: 'show one idea with all its reviews', argument, method: 'GET', path: '/v1/ideas/{id}', show: 'idea-history', options: [] },
  {
    name: 'review-idea',
    group,
    help: 'say that an idea was looked at; for operators and the agents of authority.triage',
    argument,
    method: 'POST',
    path: '/v1/ideas/{id}/review',
    show: 'idea',
    options: [notes],
    conditional: true,
  },
  {
    name: 'archive-idea',
    group,
    help: 'lay an idea aside for good; for operators, the agents of authority.triage, and an agent its own',
    argument,
    method: 'POST',
    path: '/v1/ideas/{id}/archive',
    show: 'idea',
    options: [notes],
    conditional: true,
  },
  {
    name: 'promote-idea-to-opportunity',
    group,
    help: 'make an opportunity of an idea; what is left out is taken from the idea',
    argument,
    method: 'POST',
    path: '/v1/ideas/{id}/promote',
    show: 'promoted-idea',
    options: [
      o('why-now', 'text', 'why it should be decided about now', true),
      o('impact-score', 'int', '1 to 5', true),
      o('confidence-score', 'int', '1 to 5', true),
      o('urgency-score', 'int', '1 to 5', true),
      o('reversibility', 'text', 'how easily it is undone: high, medium or low', true),
      o('suggested-next-step', 'text', 'the smallest useful next step', true),
      o('owner-candidate', 'text', 'the agent that could own it'),
      o('theme', 'text', 'what it is about (default: the theme of the idea)'),
      o('title', 'text', 'in one line (default: the title of the idea)'),
      o('evidence', 'json', 'what speaks for it, as a JSON object (default: the evidence of the idea)'),
      o('dedupe-key', 'text', 'when an opportunity with the key is open, whoever has proposed it, the idea is linked to that one'),
      notes,
    ],
    conditional: true,
  },
]
