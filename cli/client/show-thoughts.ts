import { assertNever } from '../../contracts/errors.js'
import type { ThoughtKind } from './command-row.js'
import { asObject, rowsOf, type Json } from './json.js'
import { fields, indented, page, table } from './tables.js'

const IDEA = ['id', 'status', 'namespace', 'source_agent', 'theme', 'title', 'tags', 'evidence', 'promoted_opportunity_id', 'dedupe_key', 'version', 'created_by', 'created_at']

const OPPORTUNITY = [
  'id',
  'status',
  'namespace',
  'source_agent',
  'theme',
  'title',
  'impact_score',
  'confidence_score',
  'urgency_score',
  'reversibility',
  'owner_candidate',
  'evidence',
  'triaged_by',
  'triage_notes',
  'triaged_at',
  'converted_job_id',
  'dedupe_key',
  'version',
  'created_by',
  'created_at',
]

const CANDIDATE = [
  'id',
  'status',
  'namespace',
  'source_agent',
  'candidate_kind',
  'scope',
  'subject_key',
  'title',
  'evidence',
  'source_refs',
  'confidence_score',
  'stability',
  'visibility',
  'visible_to',
  'reviewer',
  'review_notes',
  'promoted_memory_id',
  'dedupe_key',
  'version',
  'created_by',
  'created_at',
]

const MEMORY = [
  'id',
  'status',
  'in_force',
  'namespace',
  'kind',
  'scope',
  'subject_key',
  'title',
  'owner_agent',
  'source_candidate_id',
  'source_refs',
  'confidence_score',
  'stability',
  'visibility',
  'visible_to',
  'valid_from',
  'expires_at',
  'next_review_at',
  'supersedes_memory_id',
  'dedupe_key',
  'version',
  'created_by',
  'updated_by',
]

/** Answers about ideas, opportunities and memories as text for people. */
export function showThoughts(kind: ThoughtKind, body: Json): string {
  const items = rowsOf(body['items'])
  switch (kind) {
    case 'idea':
      return ideaLines(body)
    case 'ideas':
      return page(body, table(items, ['id', 'status', 'source_agent', 'theme', 'title', 'tags', 'created_at']))
    case 'idea-history':
      return `${ideaLines(asObject(body['idea']))}\n${reviewTable(body, ['details'])}`
    case 'promoted-idea':
      return `${ideaLines(asObject(body['idea']))}\n${promotedTo(body)}\n${opportunityLines(asObject(body['opportunity']))}`
    case 'opportunity':
      return opportunityLines(body)
    case 'opportunities':
      return page(body, table(items.map(scoredRow), ['id', 'status', 'source_agent', 'theme', 'title', 'impact', 'confidence', 'urgency', 'reversibility', 'owner_candidate']))
    case 'opportunity-history':
      return `${opportunityLines(asObject(body['opportunity']))}\n${reviewTable(body)}`
    case 'converted-opportunity':
      return `${opportunityLines(asObject(body['opportunity']))}\nJob\n${fields(asObject(body['job']), ['id', 'status', 'target_agent', 'subject', 'lane', 'priority', 'correlation_key'])}`
    case 'memory-candidate':
      return candidateLines(body)
    case 'memory-candidates':
      return page(body, table(items, ['id', 'status', 'source_agent', 'candidate_kind', 'scope', 'subject_key', 'title', 'confidence_score', 'visibility']))
    case 'memory-candidate-history':
      return `${candidateLines(asObject(body['candidate']))}\n${reviewTable(body)}`
    case 'promoted-memory-candidate':
      return `${candidateLines(asObject(body['candidate']))}\nMemory\n${memoryLines(asObject(body['memory']))}`
    case 'memory':
      return memoryLines(body)
    case 'memories':
      return page(body, table(items, ['id', 'status', 'in_force', 'kind', 'scope', 'subject_key', 'title', 'confidence_score', 'visibility', 'next_review_at', 'expires_at']))
    case 'memory-history':
      return `${memoryLines(asObject(body['memory']))}\n${reviewTable(body, ['details'])}`
    default:
      return assertNever(kind)
  }
}

function promotedTo(body: Json): string {
  return body['created'] === false ? 'Opportunity, which was open already' : 'Opportunity'
}

function ideaLines(idea: Json): string {
  return `${fields(idea, IDEA)}${said(idea, ['body'])}`
}

function opportunityLines(opportunity: Json): string {
  return `${fields(opportunity, OPPORTUNITY)}${said(opportunity, ['why_now', 'suggested_next_step'])}`
}

function candidateLines(candidate: Json): string {
  return `${fields(candidate, CANDIDATE)}${said(candidate, ['body'])}`
}

function memoryLines(memory: Json): string {
  return `${fields(memory, MEMORY)}${said(memory, ['body'])}`
}

/** What is said in sentences comes whole, each under its name; indented, so that no line of it can pass for a field. */
function said(thought: Json, names: readonly string[]): string {
  return names
    .flatMap((name) => {
      const words = thought[name]
      return typeof words === 'string' && words !== '' ? [`\n${name}\n${indented(words)}\n`] : []
    })
    .join('')
}

/** The scores under shorter names, so that a line has room for them. */
function scoredRow(opportunity: Json): Json {
  return { ...opportunity, impact: opportunity['impact_score'], confidence: opportunity['confidence_score'], urgency: opportunity['urgency_score'] }
}

function reviewTable(body: Json, more: readonly string[] = []): string {
  return `Reviews\n${table(rowsOf(body['reviews']), ['seq', 'at', 'from_status', 'decision', 'actor_kind', 'actor', 'job_id', 'notes', ...more])}`
}
