import { EXIT } from './exit-codes.js'
import { runCli } from './run.js'

const lost: string[] = []

// No command is ended from here. One whose reader has seen enough (`| head`), or whose terminal was closed, may have a backup to finish or a
// scratch database to remove, and has an exit code that somebody waits for.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || (error.code === 'EIO' && stream.isTTY)) return
    lost.push(error.code ?? error.message)
    if (stream === process.stdout && lost.length === 1) process.stderr.write(`agentbus: Standard output cannot be written: ${lost.join()}.\n`)
  })
}

// A full disk is no reader that has seen enough. Looked at last: a stream tells of it only after the command has returned.
process.once('exit', () => {
  if (lost.length > 0 && (process.exitCode ?? EXIT.ok) === EXIT.ok) process.exitCode = EXIT.unexpected
})

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  cwd: process.cwd(),
})
