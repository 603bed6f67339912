/**
 * `AGENTBUS_TEST_LONG=1`: tests that have a short form for CI run in full, with the figures that issues and documents name. What they
 * show is the same; the short form has fewer rounds of it.
 */
export const IS_LONG = process.env['AGENTBUS_TEST_LONG'] !== undefined
