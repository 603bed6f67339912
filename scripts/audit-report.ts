import { z } from 'zod'

const DAY = /^\d{4}-\d{2}-\d{2}$/

/** An advisory that is lived with: why, and up to which day. */
const Allowed = z.strictObject({
  /** As in its address: GHSA-xxxx-xxxx-xxxx. */
  advisory: z.string().regex(/^GHSA(-[0-9a-z]{4}){3}$/),
  package: z.string().min(1),
  reason: z.string().min(20),
  expires: z.string().regex(DAY),
})
export const AllowedAdvisories = z.array(Allowed)
export type AllowedAdvisories = z.infer<typeof AllowedAdvisories>

/** What is read of the report of `npm audit --json`, version 2. */
const Report = z.object({
  auditReportVersion: z.literal(2),
  vulnerabilities: z.record(
    z.string(),
    z.object({ via: z.array(z.union([z.string(), z.object({ name: z.string(), title: z.string(), url: z.string(), severity: z.string() })])) }),
  ),
})

export interface Verdict {
  /** `unanswered`: there is no report, so nothing is known. */
  readonly kind: 'clean' | 'faults' | 'unanswered'
  readonly lines: readonly string[]
}

/** Judges what `npm audit --json` printed. @param today `2026-11-21` */
export function judge(printed: string, allowed: AllowedAdvisories, today: string): Verdict {
  const report = Report.safeParse(parsed(printed))
  if (!report.success) return { kind: 'unanswered', lines: [`not answered: ${reasonIn(printed)}. Nothing is known about vulnerabilities.`] }
  const found = new Map<string, { readonly name: string; readonly text: string }>()
  for (const { via } of Object.values(report.data.vulnerabilities)) {
    for (const one of via) {
      if (typeof one === 'string') continue
      const id = one.url.split('/').at(-1) ?? one.url
      found.set(`${id} ${one.name}`, { name: one.name, text: `${id} in ${one.name} (${one.severity}): ${one.title}` })
    }
  }
  const faults: string[] = []
  const notes: string[] = []
  for (const one of allowed) {
    const key = `${one.advisory} ${one.package}`
    if (!found.has(key)) faults.push(`${key}: is allowed and not reported any more; remove it from the list`)
  }
  for (const [key, { text }] of found) {
    const one = allowed.find((each) => `${each.advisory} ${each.package}` === key)
    if (one === undefined) faults.push(text)
    else if (one.expires < today) faults.push(`${text}; it was allowed until ${one.expires}`)
    else notes.push(`allowed until ${one.expires}: ${text}. Why: ${one.reason}`)
  }
  const head = faults.length === 0 ? `clean: ${found.size - notes.length} advisories that are not allowed` : `${faults.length} faults`
  return { kind: faults.length === 0 ? 'clean' : 'faults', lines: [head, ...faults, ...notes] }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Why there is no report, without addresses: they may hold what nobody should read in a log. */
function reasonIn(printed: string): string {
  const failure = z.object({ statusCode: z.number().optional(), error: z.object({ code: z.string().optional() }).optional() }).safeParse(parsed(printed))
  if (!failure.success) return 'npm printed no report'
  const { statusCode, error } = failure.data
  return `the registry gave no report${statusCode === undefined ? '' : ` (HTTP ${statusCode})`}${error?.code === undefined ? '' : ` (${error.code.slice(0, 60)})`}`
}
