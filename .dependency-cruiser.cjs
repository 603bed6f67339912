/** The arrows of the layout: who may import whom. `npm run check:imports` also fails when it saw too few modules. */
const only = (from, allowed, why) => ({
  name: `${from}-imports`,
  comment: why,
  severity: 'error',
  from: { path: `^${from}/` },
  to: { path: '^(contracts|config|ledger|openclaw|queues|processors|api|board|embedded|cli|test|bench|scripts)/', pathNot: `^(${[from, ...allowed].join('|')})/` },
})

module.exports = {
  forbidden: [
    only('contracts', [], 'the vocabulary knows nobody'),
    only('config', ['contracts'], 'settings know the vocabulary'),
    only('ledger', ['contracts', 'config'], 'the ledger knows no queue and no gateway'),
    only('openclaw', ['contracts', 'config'], 'gateways know no ledger'),
    only('queues', ['contracts', 'config', 'ledger'], 'queues project the ledger'),
    only('processors', ['contracts', 'config', 'ledger', 'openclaw', 'queues'], 'processors tie queue, ledger and gateway'),
    only('api', ['contracts', 'config', 'ledger'], 'the API commits and gives a hint; it never sees a queue'),
    only('board', ['contracts', 'config', 'ledger', 'queues'], 'the board shows queues and tells the ledger'),
    only('embedded', ['contracts', 'config'], 'the first run knows settings'),
    { name: 'contracts-zod-only', severity: 'error', from: { path: '^contracts/' }, to: { dependencyTypes: ['npm'], pathNot: 'node_modules/zod/' } },
    { name: 'api-no-stores', severity: 'error', from: { path: '^api/' }, to: { path: 'node_modules/(bullmq|ioredis|drizzle-orm|pg)/' } },
    { name: 'api-through-the-facade', severity: 'error', from: { path: '^api/' }, to: { path: '^ledger/', pathNot: '^ledger/(ledger|caller|queries|tokens)\\.ts$' } },
    { name: 'schema-is-the-ledgers-own', severity: 'error', from: { pathNot: '^(ledger|test|scripts)/' }, to: { path: '^ledger/schema/' } },
    { name: 'no-cycles', severity: 'error', from: { pathNot: '^node_modules' }, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|drizzle)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
  },
}
