import { afterAll } from 'vitest'
import { dropClones } from './ledger.js'

// Hooks run in the reverse order of their registration: this one is the last.
afterAll(dropClones)
