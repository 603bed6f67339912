import { runCli } from './run.js'
import { stopsInOrder } from './until-stopped.js'

// A reader that has seen enough (`| head`) or a terminal that was closed is no error. What has stores to stop goes on without it.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (stopsInOrder()) return
    if (error.code === 'EPIPE' || error.code === 'EIO') process.exit()
    throw error
  })
}

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  cwd: process.cwd(),
})
