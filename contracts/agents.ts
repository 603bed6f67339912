/** What an agent is doing, seen from outside. */
export const AGENT_STATES = ['offline', 'idle', 'assigned', 'working', 'blocked', 'disabled'] as const
