import { option as o } from '../command-row.js'

/** Asked by whatever an operator does to work. */
export const reason = [o('reason', 'text', 'why; kept in the history', true)]

/** Where something is made. */
export const namespace = o('namespace', 'text', 'namespace (default: default)')

/** Where something is looked for. */
export const inNamespace = o('namespace', 'text', 'in this namespace (default: all)')
