import type { Proof, Wishes } from './catalogue.js'
import { run } from './live-bus.js'
import { scrub } from './scrub.js'

export interface Played {
  readonly command: string
  readonly code: number
  readonly output: string
  readonly seconds: number
}

/** Runs a proof to its end. The code is 0 only when everything that it has to show was seen. */
export async function play(proof: Proof, wishes: Wishes): Promise<Played> {
  const startedMs = performance.now()
  const { command, code, output } = await playIt(proof, wishes)
  return { command, code, output: scrub(output), seconds: Math.round((performance.now() - startedMs) / 1_000) }
}

async function playIt({ name, how }: Proof, wishes: Wishes): Promise<Omit<Played, 'seconds'>> {
  switch (how.kind) {
    case 'own':
      throw new Error(`${name} writes its results itself: run ${how.command}.`)
    case 'command': {
      const argv = how.command(wishes)
      const { code, output } = await run(argv, { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' })
      return { command: argv.join(' '), code, output }
    }
    case 'live': {
      const lines: string[] = []
      let code = 0
      await how.play({
        tell: (text) => lines.push(`# ${text}`),
        ran: (command, ran, wanted) => {
          lines.push(`$ ${command}`, ran.output.trimEnd(), `[exit code ${ran.code}${ran.code === wanted ? '' : `, wanted ${wanted}`}]`, '')
          if (ran.code !== wanted) code = 1
        },
        needs: (what, holds) => {
          lines.push(`${holds ? 'seen:   ' : 'MISSING:'} ${what}`)
          if (!holds) code = 1
        },
      })
      return { command: `npm run evidence -- --print ${name}`, code, output: lines.join('\n') }
    }
  }
}
