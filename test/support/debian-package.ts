import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import path from 'node:path'

/**
 * Finds a program that tests need; as root on Debian its package is installed when it is missing.
 * @throws Error that says what to install
 */
export function findOrInstall(options: { readonly find: () => string | undefined; readonly debianPackage: string; readonly advice: string }): string {
  const { find, debianPackage, advice } = options
  const known = find()
  if (known !== undefined) return known
  if (process.getuid?.() !== 0) throw new Error(advice)
  try {
    // Locked: test files run side by side, and apt-get does not wait for another `update`.
    const install = `apt-get install -y --no-install-recommends ${debianPackage}`
    execFileSync('flock', [path.join(tmpdir(), 'agentbus-test-apt.lock'), 'sh', '-c', `${install} || { apt-get update && ${install}; }`], {
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
  } catch (error) {
    throw new Error(advice, { cause: error })
  }
  const found = find()
  if (found === undefined) throw new Error(advice)
  return found
}
