/** Limits on what one request may carry. Sizes are in characters unless named otherwise. */
export const LIMITS = {
  bodyBytes: 262_144,
  /** Of `POST /v1/fleet` by an operator: room for 10,000 agents and 10,000 standing orders. */
  fleetBodyBytes: 16_777_216,
  subject: 500,
  summary: 8_000,
  reason: 4_000,
  key: 200,
  dependencies: 100,
  followUps: 50,
  page: 200,
  /** Bytes of JSON. A page of a list shows the evidence of 200 thoughts. */
  evidenceBytes: 16_384,
} as const
