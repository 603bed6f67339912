import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { evidenceFile, PROOFS, type Proof } from './evidence/catalogue.js'
import { play, type Played } from './evidence/play.js'
import { cleanCommit, machineClass } from './evidence/setting.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { print: { type: 'boolean', default: false }, minutes: { type: 'string', default: '2' }, seed: { type: 'string', default: '20261121' } },
})

function page(proof: Proof, { command, code, output, seconds }: Played, commit: string): string {
  const seed = proof.how.kind === 'command' && proof.how.seeded ? [`| seed | ${values.seed} |`] : []
  return [
    `# ${proof.name}`,
    '',
    `${proof.shows}.`,
    '',
    '| | |',
    '|---|---|',
    `| command | \`${command}\` |`,
    `| date | ${new Date().toISOString()} |`,
    `| commit | ${commit} |`,
    `| machine | ${machineClass()} |`,
    ...seed,
    `| took | ${seconds} s |`,
    `| exit code | ${code} |`,
    '',
    '```text',
    output,
    '```',
    '',
  ].join('\n')
}

async function main(): Promise<number> {
  const [name, ...more] = positionals
  const proof = PROOFS.find((one) => one.name === name)
  if (proof === undefined || more.length > 0) {
    console.error(`Usage: npm run evidence -- [--print] [--minutes n] [--seed n] <name>; names: ${PROOFS.map((one) => one.name).join(', ')}`)
    return 2
  }
  const commit = values.print ? '' : cleanCommit()
  const played = await play(proof, values)
  console.log(played.output)
  if (!values.print) {
    const file = evidenceFile(proof)
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, page(proof, played, commit))
    console.log(`\n${file} was written; exit code ${played.code}.`)
  }
  return played.code
}

main().then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  },
)
