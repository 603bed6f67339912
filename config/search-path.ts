/** The folders where programs are looked for, as the caller's shell has them. Not a setting of agentbus. */
export function programSearchPath(): string | undefined {
  return process.env['PATH']
}
