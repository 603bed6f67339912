import { afterAll, afterEach } from 'vitest'
import { runCleanups } from '../embedded/processes.js'
import { dropClones } from './ledger.js'

afterEach(runCleanups)

// Hooks run in the reverse order of their registration: this one is the last.
afterAll(dropClones)
