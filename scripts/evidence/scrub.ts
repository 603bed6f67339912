import { homedir, hostname, tmpdir } from 'node:os'
import path from 'node:path'
import { stripVTControlCharacters } from 'node:util'

/** Takes out of an output what says more of this machine than of the proof: paths, names, passwords, tokens. */
export function scrub(output: string): string {
  const machine: readonly (readonly [text: string, instead: string])[] = [
    [path.resolve('.'), '.'],
    [homedir(), '~'],
    [hostname(), 'host'],
  ]
  const clean = stripVTControlCharacters(output)
    .replaceAll('\r', '')
    // Mostly a remark on the settings of whoever ran it.
    .replace(/^npm (warn|notice) .*\n/gm, '')
    .replace(/\b(postgres(?:ql)?|rediss?):\/\/[^\s"'@/]*@/g, '$1://…@')
    .replace(/\b(abt|aat)_[A-Za-z0-9_-]+/g, '$1_…')
  return (
    machine
      .filter(([text]) => text.length > 1)
      .reduce((said, [text, instead]) => said.replaceAll(new RegExp(`(?<![\\w.-])${escaped(text)}(?![\\w])`, 'g'), instead), clean)
      // After the project's own folder, which may lie in it.
      .replace(new RegExp(`${escaped(tmpdir())}/[\\w.-]+`, 'g'), '<temp>')
      .replace(/^\s*\n/, '')
      .trimEnd()
  )
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
