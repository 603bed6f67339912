import { digitsOf, ENOUGH_RUNS, type Figure, type Results, type Section } from './figure.js'
import { median } from './figures.js'
import { costShown, costsOfAge, verdicts } from './targets.js'

const TITLES: Readonly<Record<Section, string>> = {
  enqueue: 'Enqueue rate, jobs/s',
  rate: 'End-to-end rate, jobs/s',
  latency: 'Enqueue to hook, ms',
  age: 'What a full ledger costs',
  'hand-off': 'Hand-off: from a completion to the next agent’s hook, ms',
  recovery: 'Recovery: from the wipe of the queue store until every job is an entry again, s',
  memory: 'Memory and idle CPU',
  bytes: 'Bytes of ledger per finished job',
}

/** What each section measures, in the words of its table. */
const NOTES: Readonly<Record<Section, (given: Readonly<Record<string, string>>) => string>> = {
  enqueue: (a) => `${a['jobs']} jobs while nobody works: one by one with ${a['callers']} callers, and ${a['batch']} to a call with 4 callers. Stored means acknowledged.`,
  rate: (a) =>
    `${a['jobs']} jobs from the first call until the last has durably ended, workers there from the start, ${a['concurrency']} jobs at a time. What takes more than ${a['most-seconds']} s is measured by what ended in that time.`,
  latency: (a) => `${a['per-second']} jobs/s for ${a['seconds']} s.`,
  age: (a) =>
    `The same bus on an empty ledger and on one with ${Number(a['old']).toLocaleString('en')} finished jobs, in turn: ${a['slices']} pairs of ${a['slice-jobs']} jobs for a rate, and of a second with ${a['per-second']} jobs for a latency. Both are open all the time, so what either does when idle is in both figures. The cost is the median of the pairs, with the interval that it lies in with 95 %.`,
  'hand-off': (a) => `${a['per-second']} hand-offs/s for ${a['seconds']} s.`,
  recovery: (a) => `${a['queued']} queued jobs; the store is emptied under a running bus, which has to notice it by itself.`,
  memory: (a) =>
    `One \`agentbus api\` and one \`agentbus worker\`, started from the build with default settings, with 1 and with ${a['agents']} agents that have nothing to do; CPU over ${a['idle']} s. Own processes by RSS; stores (PostgreSQL's processes, and Redis) by PSS, which counts shared memory once.`,
  bytes: (a) => `${a['jobs']} jobs; tables with their indexes and TOAST, checkpoints taken.`,
}

export function render(results: Results): string {
  const { machine, versions, stores } = results
  const lines = [
    '# agentbus beside its peers',
    '',
    `Commit ${results.commit}, ${results.date.slice(0, 10)}; ${machine.cores} cores (${machine.cpu}), ${machine.memory_gib} GiB, ${machine.system}; the cores were ${(100 * results.busy).toFixed(0)} % busy.`,
    `${listed(versions)}. ${listed(stores)}.`,
    `Medians of ${String(results.arguments['runs'])} interleaved runs (lowest–highest). \`npm run bench\`; figures as data: [peers.json](peers.json). What is measured and how: [performance](../../docs/performance.md).`,
    ...results.renewed.map(
      ({ section, commit, date, busy }) =>
        `The section “${TITLES[section]}” was measured anew: commit ${commit}, ${date.slice(0, 10)}; the cores were ${(100 * busy).toFixed(0)} % busy.`,
    ),
    '',
  ]
  const isTrial = Number(results.arguments['runs']) < ENOUGH_RUNS
  if (isTrial) lines.push(`**A trial with fewer than ${ENOUGH_RUNS} runs: it shows the form of the page, and no figure in it is a result.**`, '')
  const given = Object.fromEntries(Object.entries(results.arguments).map(([name, value]) => [name, String(value)]))
  const targets = verdicts(results)
  if (targets.length > 0) {
    lines.push('## Targets', '', '| target | measured | |', '|---|---|---|')
    for (const { target, measured, met, isClose } of targets)
      lines.push(`| ${target} | ${measured} | ${isTrial ? 'a trial' : met ? (isClose === true ? 'met by the median' : 'met') : '**NOT met**'} |`)
    lines.push('')
  }
  for (const [section, title] of Object.entries(TITLES) as [Section, string][]) {
    const figures = results.figures.filter((one) => one.section === section)
    if (figures.length > 0) lines.push(`## ${title}`, '', NOTES[section](given), '', ...(section === 'age' ? ageTable(figures) : table(figures)), '')
  }
  return lines.join('\n')
}

const listed = (facts: Readonly<Record<string, string>>): string =>
  Object.entries(facts)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')

function ageTable(figures: readonly Figure[]): string[] {
  return [
    '| figure | way | queues | empty | full | cost |',
    '|---|---|---|---|---|---|',
    ...costsOfAge(figures).map(
      ({ figure, way, young, old, costs }) => `| ${figure} | ${way} | ${placeOf(young)} | ${cell(young, true)} | ${cell(old, true)} | ${costShown(costs)} |`,
    ),
  ]
}

/** A row for each system, a column for each figure; figures alone when there is but one system. */
function table(figures: readonly Figure[]): string[] {
  const names = [...new Set(figures.map(({ figure }) => figure))]
  if (new Set(figures.map(({ system }) => system)).size === 1) {
    const columns = [...new Set(figures.map(placeOf))]
    return [
      `| figure | ${columns.join(' | ')} |`,
      `|---|${'---|'.repeat(columns.length)}`,
      ...names.map(
        (name) =>
          `| ${name} | ${columns
            .map((column) =>
              cell(
                figures.find((one) => one.figure === name && placeOf(one) === column),
                true,
              ),
            )
            .join(' | ')} |`,
      ),
    ]
  }
  const rows = [...new Set(figures.map((one) => `${one.system} | ${one.way} | ${placeOf(one)}`))]
  return [
    `| system | way | queues | ${names.join(' | ')} |`,
    `|---|---|---|${'---|'.repeat(names.length)}`,
    ...rows.map(
      (row) =>
        `| ${row} | ${names
          .map((name) =>
            cell(
              figures.find((one) => one.figure === name && `${one.system} | ${one.way} | ${placeOf(one)}` === row),
              false,
            ),
          )
          .join(' | ')} |`,
    ),
  ]
}

function placeOf({ queues, finished }: Figure): string {
  const store = queues === 'redis' ? 'Redis' : queues === 'postgres' ? 'PostgreSQL' : 'its own tables'
  return finished === 0 ? store : `${store}, ${finished.toLocaleString('en')} finished jobs`
}

function cell(figure: Figure | undefined, withUnit: boolean): string {
  if (figure === undefined) return '–'
  const values = figure.values.filter((value) => value !== null)
  if (values.length < figure.values.length) return 'does not keep up'
  const digits = digitsOf(Math.abs(median(values)))
  const shown = (value: number): string => value.toFixed(digits)
  const range = values.length === 1 ? '' : ` (${shown(Math.min(...values))}–${shown(Math.max(...values))})`
  return `${shown(median(values))}${range}${withUnit ? ` ${figure.unit}` : ''}`
}
