import type { PageHandler } from '../deps.js'
import { accountabilityPage } from './accountability.js'
import { blockedPage } from './blocked.js'
import { controlsPage } from './controls.js'
import { deadLettersPage } from './dead-letters.js'
import { eventsPage } from './events.js'
import { fleetPage } from './fleet.js'
import { flowPage } from './flow.js'
import { healthPage } from './health.js'
import { jobPage } from './job.js'
import { jobsPage } from './jobs.js'
import { slotPage, slotsPage } from './slots.js'

/** Every page of the console by its path. */
export const PAGES: ReadonlyMap<string, PageHandler> = new Map([
  ['/', fleetPage],
  ['/console/accountability', accountabilityPage],
  ['/console/slots', slotsPage],
  ['/console/slots/:id', slotPage],
  ['/console/jobs', jobsPage],
  ['/console/jobs/:id', jobPage],
  ['/console/flow', flowPage],
  ['/console/blocked', blockedPage],
  ['/console/dead-letters', deadLettersPage],
  ['/console/health', healthPage],
  ['/console/events', eventsPage],
  ['/console/controls', controlsPage],
])
