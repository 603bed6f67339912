import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** A folder for what a bench keeps while it runs; one that was named stays, with what is in it. */
export async function scratchFolder(named: string | undefined): Promise<{ readonly path: string; readonly remove: () => Promise<void> }> {
  if (named !== undefined) {
    await mkdir(named, { recursive: true, mode: 0o755 })
    return { path: path.resolve(named), remove: async () => undefined }
  }
  const made = await mkdtemp(path.join(tmpdir(), 'agentbus-bench-'))
  // Where root runs it, PostgreSQL belongs to another user, who has to get there.
  await chmod(made, 0o755)
  return { path: made, remove: () => rm(made, { recursive: true, force: true }) }
}
