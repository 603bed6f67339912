import type { Route } from '../define-route.js'
import { controlRoutes } from './controls.js'
import { alertRoutes } from './alerts.js'
import { fleetRoutes } from './fleet.js'
import { handOffRoutes } from './hand-offs.js'
import { ideaRoutes } from './ideas.js'
import { inboxRoutes } from './inbox.js'
import { jobRoutes } from './jobs.js'
import { laneRoutes } from './lanes.js'
import { memoryRoutes } from './memories.js'
import { opportunityRoutes } from './opportunities.js'
import { projectRoutes } from './projects.js'
import { standingOrderRoutes } from './standing-orders.js'
import { workflowRoutes } from './workflows.js'

/** Every route of the API: what the server mounts and what the OpenAPI document describes. */
export const routes: readonly Route[] = [
  ...jobRoutes,
  ...fleetRoutes,
  ...standingOrderRoutes,
  ...inboxRoutes,
  ...laneRoutes,
  ...controlRoutes,
  ...handOffRoutes,
  ...workflowRoutes,
  ...projectRoutes,
  ...ideaRoutes,
  ...opportunityRoutes,
  ...memoryRoutes,
  ...alertRoutes,
]
