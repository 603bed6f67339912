// Checks an export of `agentbus audit export` offline, with Node alone. It shares no code with agentbus.
//   node verify-bundle.mjs [folder] [--key public-key.pem]
// Take the key from where you trust it: the one in the folder proves only that the folder fits itself.
// Exit code 0: everything fits. 1: something does not; each line names it. 2: the bundle cannot be read.
import { createHash, createPublicKey, verify } from 'node:crypto'
import { createReadStream, existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'

const { keyFile, folder } = readArguments()
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(Buffer.from(part)), createHash('sha256')).digest()
const hexOf = (...parts) => sha256(...parts).toString('hex')
const hex = (text) => Buffer.from(text ?? '', 'hex')
const faults = []
const fault = (text) => void (faults.length < 1000 && faults.push(text))

/** A word that is not understood must not pass for a check that was made. */
function readArguments() {
  try {
    const { values, positionals } = parseArgs({ options: { key: { type: 'string' } }, allowPositionals: true })
    if (positionals.length > 1) throw new Error(`one folder at a time, not ${positionals.length}`)
    return { keyFile: values.key, folder: path.resolve(positionals[0] ?? '.') }
  } catch (error) {
    console.error(`${error.message}\nnode verify-bundle.mjs [folder] [--key public-key.pem]`)
    process.exit(2)
  }
}

async function* lines(name) {
  for await (const line of createInterface({ input: createReadStream(path.join(folder, name)), crlfDelay: Infinity })) if (line !== '') yield JSON.parse(line)
}

/** A Merkle tree of RFC 6962, built as its leaves come. */
class Tree {
  peaks = []
  rows = 0
  add(leaf) {
    this.rows += 1
    let peak = { hash: sha256([0], leaf), leaves: 1 }
    while (this.peaks.at(-1)?.leaves === peak.leaves) {
      const left = this.peaks.pop()
      peak = { hash: sha256([1], left.hash, peak.hash), leaves: peak.leaves * 2 }
    }
    this.peaks.push(peak)
  }
  root = () => (this.peaks.length === 0 ? sha256() : this.peaks.map(({ hash }) => hash).reduceRight((right, left) => sha256([1], left, right))).toString('hex')
}

/** Chain, hashes and signatures of the checkpoints. */
async function readCheckpoints(keys) {
  const all = []
  for await (const c of lines('checkpoints.jsonl')) {
    const before = all.at(-1)
    const restored = c.restored_to ?? null
    const fields = [c.seq, c.xact_from, c.xact_to, c.rows, c.jobs, c.first_id, c.last_id, c.root, c.jobs_hash, c.key_id ?? '', c.created_at]
    const lists = (c.records ?? null) === null ? undefined : ['agentbus checkpoint 3', ...fields, restored ?? '', c.records, c.records_hash]
    const text = lists ?? (restored === null ? ['agentbus checkpoint 1', ...fields] : ['agentbus checkpoint 2', ...fields, restored])
    if (hexOf(hex(c.prev_hash), text.join('\n')) !== c.hash) fault(`checkpoint ${c.seq} was changed: it does not have the hash of what it says`)
    // A restore ends an era: after it, transactions count from the beginning. It may be recorded in parts.
    const from = before?.restored && before.restored !== restored ? '0' : before?.xact_to
    const follows = before === undefined || (c.seq === before.seq + 1 && c.prev_hash === before.hash && c.xact_from === from)
    if (!follows) fault(`checkpoint ${c.seq} does not follow checkpoint ${before.seq}`)
    if (c.seq === 1 && (c.prev_hash !== '00'.repeat(32) || c.xact_from !== '0')) fault('checkpoint 1 follows something')
    if (c.key_id === null && before?.key_id) fault(`checkpoint ${c.seq} is not signed, earlier ones are`)
    const key = keys.get(c.key_id)
    if (c.key_id !== null && keys.size > 0 && key === undefined) fault(`checkpoint ${c.seq} is signed with the key ${c.key_id}, which was not given`)
    if (key !== undefined && !verify(null, hex(c.hash), key, hex(c.signature))) fault(`the signature of checkpoint ${c.seq} is wrong`)
    all.push({ ...c, restored, tree: new Tree(), expected: new Map(), listed: createHash('sha256') })
  }
  // A key that was given has to have signed the newest one, which vouches for those before it. An unsigned one after a signed one is told above.
  if (keyFile !== undefined && all.length === 0) fault('there is no checkpoint, so that the key proves nothing')
  else if (keyFile !== undefined && all.every(({ key_id }) => !key_id)) fault(`checkpoint ${all.at(-1).seq}, the newest, is not signed, and neither is one before it`)
  // Rows above the id up to which the next restore reaches belong to the eras after it.
  let until
  for (const c of all.toReversed()) {
    if (c.restored !== null) until = BigInt(c.restored)
    c.until = until
  }
  const bySeq = new Map(all.map((c) => [c.seq, c]))
  for await (const j of lines('checkpoint-jobs.jsonl')) {
    const c = bySeq.get(j.checkpoint_seq)
    c?.expected.set(j.job_id, j)
    c?.listed.update(`${j.job_id} ${j.first_seq} ${j.last_seq} ${j.last_hash}\n`)
  }
  for (const c of all) if (c.listed.digest('hex') !== c.jobs_hash) fault(`the list of jobs of checkpoint ${c.seq} was changed`)
  return all
}

/** Each row: its own hash, its link to the row before it, and its place in a checkpoint. Rows come in the order of transactions. */
async function readRows(checkpoints) {
  const jobs = new Map()
  let [rows, uncovered, at, seen] = [0, 0, 0, new Map()]
  const close = (c) => {
    for (const { job_id, last_seq, last_hash } of c.expected.values()) {
      const last = seen.get(job_id)
      const ends = last === undefined ? 'and it is missing' : `the rows end at ${last.seq}`
      if (last?.seq !== last_seq) fault(`job ${job_id}: checkpoint ${c.seq} covers it up to row ${last_seq}, ${ends}`)
      else if (last.hash !== last_hash) fault(`job ${job_id}: row ${last_seq} is not the one that checkpoint ${c.seq} covers`)
    }
    for (const id of seen.keys()) if (!c.expected.has(id)) fault(`job ${id} was put into the past: checkpoint ${c.seq} does not know it`)
    if (c.tree.rows !== c.rows || c.tree.root() !== c.root) fault(`the ${c.tree.rows} rows below checkpoint ${c.seq} are not the ${c.rows} it was taken over`)
    seen = new Map()
  }
  for await (const row of lines('transitions.jsonl')) {
    rows += 1
    const isPast = ({ xact_to, until }) => BigInt(row.xact) >= BigInt(xact_to) || (until !== undefined && BigInt(row.id) > until)
    while (at < checkpoints.length && isPast(checkpoints[at])) close(checkpoints[at++])
    const name = `row ${row.seq} of job ${row.job_id}`
    const [jobId, seq, , , to] = JSON.parse(row.canonical)
    const isOwn = jobId === row.job_id && seq === row.seq && hexOf(hex(row.prev_hash), row.canonical) === row.hash
    if (!isOwn) fault(`${name} was changed: it does not have the hash of what it says`)
    const before = jobs.get(row.job_id)
    if (before !== undefined && row.seq !== before.seq + 1) fault(`${name} follows row ${before.seq}: rows are missing or in another order`)
    else if (before !== undefined && row.prev_hash !== before.hash) fault(`${name} does not follow row ${before.seq}`)
    if (row.seq === 1 && row.prev_hash !== hexOf(row.job_id)) fault(`${name} is not the beginning of its job`)
    jobs.set(row.job_id, { seq: row.seq, hash: row.hash, to })
    seen.set(row.job_id, { seq: row.seq, hash: row.hash })
    checkpoints[at]?.tree.add(hex(row.hash))
    if (at === checkpoints.length) uncovered += 1
  }
  while (at < checkpoints.length) close(checkpoints[at++])
  for await (const job of lines('jobs.jsonl')) {
    const last = jobs.get(job.id)
    const fits = last === undefined || last.seq < job.last_seq || (last.seq === job.last_seq && last.to === job.status)
    if (!fits) fault(`job ${job.id} is ${job.status} at row ${job.last_seq}; its history says ${last.to} at row ${last.seq}`)
    jobs.delete(job.id)
  }
  for (const id of jobs.keys()) fault(`job ${id} has a history and no row`)
  return { rows, uncovered }
}

/** The rows of all other histories: each checkpoint lists them by table and id, with the hash of what each says. */
async function readRecords(checkpoints) {
  const bySeq = new Map(checkpoints.filter((c) => (c.records ?? null) !== null).map((c) => [c.seq, { c, hash: createHash('sha256'), rows: 0 }]))
  const listed = new Map()
  for await (const { checkpoint_seq, history, part, restored_to, ids, hashes } of lines('checkpoint-records.jsonl')) {
    const of = bySeq.get(checkpoint_seq)
    if (of === undefined) {
      fault(`a list names checkpoint ${checkpoint_seq}, which is not in the bundle or has no lists`)
      continue
    }
    of.hash.update(`${history} ${part} ${restored_to ?? ''} ${ids} ${hashes}\n`)
    for (const [at, id] of ids === '' ? [] : ids.split(',').entries()) {
      of.rows += 1
      listed.set(`${history} ${id}`, { seq: checkpoint_seq, hash: hashes.slice(at * 64, at * 64 + 64) })
    }
  }
  for (const { c, hash, rows } of bySeq.values()) if (rows !== c.records || hash.digest('hex') !== c.records_hash) fault(`the list of rows of checkpoint ${c.seq} was changed`)
  let records = 0
  for await (const { history, id, text } of lines('records.jsonl')) {
    records += 1
    const said = listed.get(`${history} ${id}`)
    listed.delete(`${history} ${id}`)
    const [table, own] = JSON.parse(text)
    const isOwn = table === history && String(own) === id
    if (said === undefined) fault(`row ${id} of ${history} was put into the past: no checkpoint lists it`)
    else if (!isOwn || hexOf(text) !== said.hash) fault(`row ${id} of ${history} was changed: checkpoint ${said.seq} knows another`)
  }
  const cut = new Map()
  for await (const { kind, last_key } of lines('prunes.jsonl')) cut.set(kind, BigInt(last_key))
  let pruned = 0
  for (const [key, { seq }] of listed) {
    const [history, id] = key.split(' ')
    if (BigInt(id) <= (cut.get(history) ?? 0n)) pruned += 1
    else fault(`row ${id} of ${history} is missing: checkpoint ${seq} lists it`)
  }
  return { records, pruned }
}

try {
  const own = path.join(folder, 'public-key.pem')
  const pem = keyFile !== undefined || existsSync(own) ? readFileSync(keyFile ?? own, 'utf8') : ''
  const publicKeys = (pem.match(/-----BEGIN PUBLIC KEY-----[\s\S]*?-----END PUBLIC KEY-----/g) ?? []).map((part) => createPublicKey(part))
  if (keyFile !== undefined && publicKeys.length === 0) throw new Error(`${keyFile} holds no public key in PEM form`)
  const keys = new Map(publicKeys.map((key) => [hexOf(key.export({ type: 'spki', format: 'der' })).slice(0, 16), key]))
  const checkpoints = await readCheckpoints(keys)
  const { rows, uncovered } = await readRows(checkpoints)
  const { records, pruned } = await readRecords(checkpoints)
  for (const text of faults) console.log(`FAULT ${text}`)
  const signed = checkpoints.filter(({ key_id }) => key_id !== null).length
  console.log(`${rows} rows, ${checkpoints.length} checkpoints, ${signed} signed, ${uncovered} rows newer than the last checkpoint`)
  console.log(`${records} rows of other histories${pruned === 0 ? '' : `; ${pruned} more are gone by prunes, which the bundle tells and does not prove`}`)
  if (signed > 0 && keys.size === 0) console.log('No key was given, so that no signature was checked.')
  if (signed > 0 && keyFile === undefined && keys.size > 0) console.log('The key came with the bundle: give one that you trust with --key.')
  console.log(faults.length === 0 ? 'Everything fits.' : 'This is not what the ledger wrote.')
  process.exitCode = faults.length === 0 ? 0 : 1
} catch (error) {
  console.error(`The bundle in ${folder} cannot be read: ${error.message}`)
  process.exitCode = 2
}
