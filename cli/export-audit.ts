import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../config/clock.js'
import { loadSettings } from '../config/settings.js'
import { readSigningKey } from '../config/signing-key.js'
import { AgentbusError } from '../contracts/errors.js'
import { readExport } from '../ledger/audit/read-export.js'
import { signerOf } from '../ledger/audit/signing.js'
import { openReader } from '../ledger/verify/reader.js'
import { BundleWriter } from './bundle-writer.js'
import { EXIT } from './exit-codes.js'
import { CliError } from './io.js'
import type { ServerIo } from './server-commands.js'
import { lookAtStores, requireMigrated } from './stores.js'
import { timeOption } from './time-option.js'

export interface ExportFlags {
  readonly from?: string
  readonly to?: string
  readonly out: string
}

/** The script that goes with each bundle. */
const SCRIPT = 'verify-bundle.mjs'

function orderedRange(range: { readonly from: string | undefined; readonly to: string | undefined }): typeof range {
  if (range.from !== undefined && range.to !== undefined && Date.parse(range.from) > Date.parse(range.to))
    throw new CliError('--from is later than --to: there is nothing in between.', EXIT.usage)
  return range
}

/** `agentbus audit export`: writes a folder that can be checked with Node alone. */
export async function exportAudit(io: ServerIo, flags: ExportFlags): Promise<void> {
  const range = orderedRange({
    from: flags.from === undefined ? undefined : timeOption('--from', flags.from),
    to: flags.to === undefined ? undefined : timeOption('--to', flags.to),
  })
  const settings = loadSettings(io.env)
  const signer = settings.signingKey === undefined ? undefined : signerOf(readSigningKey(settings.signingKey, io.env))
  const { databaseUrl } = await lookAtStores(settings)
  await requireMigrated(databaseUrl)
  const folder = path.resolve(flags.out)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if ((await readdir(folder)).length > 0) throw new CliError(`${flags.out} is not empty: a bundle gets a folder of its own.`, EXIT.usage)

  const reader = await openReader(databaseUrl)
  const files = new BundleWriter(folder)
  try {
    const counts = await readExport(reader.client, range, (name, line) => files.write(name, line))
    await files.close()
    if (signer !== undefined) await writeFile(path.join(folder, 'public-key.pem'), signer.publicKeyPem)
    await copyFile(scriptFile(), path.join(folder, SCRIPT))
    await writeFile(
      path.join(folder, 'manifest.json'),
      `${JSON.stringify({ format: 'agentbus audit 2', made_at: new Date(systemClock.nowMs()).toISOString(), ...range, lines: counts }, undefined, 2)}\n`,
    )
    io.stdout.write(
      `${counts['transitions.jsonl']} rows of ${counts['jobs.jsonl']} jobs and ${counts['checkpoints.jsonl']} checkpoints are in ${flags.out}. Check them with:\n\n  node ${path.join(flags.out, SCRIPT)} ${flags.out}\n`,
    )
  } finally {
    files.abandon()
    await reader.close()
  }
}

/** From the sources and from the build alike. */
function scriptFile(): string {
  const here = path.dirname(fileURLToPath(import.meta.url))
  const found = [path.join(here, '..', 'scripts', SCRIPT), path.join(here, '..', '..', 'scripts', SCRIPT)].find((file) => existsSync(file))
  if (found === undefined) throw new AgentbusError('AGENTBUS_CONFIG', `scripts/${SCRIPT} is missing from this installation.`)
  return found
}
