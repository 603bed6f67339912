import type pg from 'pg'
import type { Checkpoint } from '../audit/checkpoint-text.js'
import type { Findings } from './report.js'

/** Faults that are told one by one; a checkpoint over other rows altogether has as many as jobs. */
const MOST = 1_000

interface Fault {
  readonly job_id: string
  readonly first_seq: number | null
  readonly last_seq: number | null
  readonly found: number
  readonly lowest: number | null
  readonly highest: number | null
  readonly job_there: boolean
  readonly history_there: boolean
}

const RESTORE = 'Compare this job with a backup or an export from after the checkpoint.'

/** Says by the list of jobs in a checkpoint what differs below its root. `covers` are its rows, as a condition. @returns false when the list does not tell */
export async function nameFaults(client: pg.Client, checkpoint: Checkpoint, covers: string, findings: Findings): Promise<boolean> {
  const { rows } = await client.query<Fault>(
    `select job_id, m.first_seq, m.last_seq, coalesce(r.found, 0) as found, r.lowest, r.highest,
       exists (select from jobs j where j.id = job_id) as job_there,
       exists (select from job_transitions h where h.job_id = coalesce(m.job_id, r.job_id)) as history_there
     from (select * from audit_checkpoint_jobs where checkpoint_seq = $1) m
       full join (
         select t.job_id, count(*)::int as found, min(t.seq) as lowest, max(t.seq) as highest, (array_agg(t.hash order by t.seq desc))[1] as last_hash
         from job_transitions t where ${covers} group by t.job_id
       ) r using (job_id)
     where m.job_id is null or r.job_id is null or r.found <> m.last_seq - m.first_seq + 1 or r.lowest <> m.first_seq or r.highest <> m.last_seq or r.last_hash <> m.last_hash
     order by job_id limit ${MOST}`,
    [checkpoint.seq],
  )
  for (const fault of rows) findings.add({ ...tell(checkpoint, fault), next: RESTORE })
  return rows.length > 0
}

function tell(checkpoint: Checkpoint, fault: Fault): { kind: string; what: string; row: Record<string, unknown> } {
  const { job_id, first_seq, last_seq, found, lowest, highest } = fault
  const row = { checkpoint: checkpoint.seq, job_id, covered_from: first_seq, covered_to: last_seq, found }
  const at = `checkpoint ${checkpoint.seq} (${checkpoint.created_at})`
  if (first_seq === null || last_seq === null) {
    return {
      kind: 'rows_added',
      what: `Rows ${lowest} to ${highest} of job ${job_id} were put into the past: ${at} does not know the job.`,
      row: { ...row, first_added: lowest, last_added: highest },
    }
  }
  if (!fault.history_there) {
    const all = fault.job_there ? 'all rows of its history' : 'it was deleted with all its rows'
    return { kind: 'job_deleted', what: `Job ${job_id} is missing: ${at} covers its rows ${first_seq} to ${last_seq}, and ${all}${fault.job_there ? ' are gone' : ''}.`, row }
  }
  if (found < last_seq - first_seq + 1) {
    const cut = highest === null || highest < last_seq ? 'tail_cut_off' : 'covered_rows_missing'
    return {
      kind: cut,
      what: `Job ${job_id} has lost rows: ${at} covers rows ${first_seq} to ${last_seq}, of which ${found} are there${highest === null ? '' : `, up to ${highest}`}.`,
      row,
    }
  }
  if (found > last_seq - first_seq + 1 || (lowest ?? 0) < first_seq || (highest ?? 0) > last_seq) {
    return { kind: 'rows_added', what: `Job ${job_id} has rows ${lowest} to ${highest} where ${at} covers rows ${first_seq} to ${last_seq}.`, row }
  }
  return { kind: 'covered_row_changed', what: `Row ${last_seq} of job ${job_id} does not have the hash that ${at} knows: the history was written anew.`, row }
}
