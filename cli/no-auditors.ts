/** What whoever may not make the role of auditors is told. */
export const NO_AUDITORS = `The role agentbus_auditor is not there, and this user may not create roles. For logins that can read and no more, have
somebody who may run \`create role agentbus_auditor nologin\`, then run agentbus migrate. Everything else works without it.
`
