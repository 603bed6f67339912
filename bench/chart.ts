import { BarChart, CustomChart } from 'echarts/charts'
import { GridComponent, TitleComponent } from 'echarts/components'
import * as echarts from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import { ENOUGH_RUNS, type Figure, type Results } from './figure.js'
import { median } from './figures.js'

echarts.use([BarChart, CustomChart, GridComponent, TitleComponent, SVGRenderer])

const WIDTH = 860
const ROW = 26
const HEAD = 56
/** Reads on white and on near-black alike; the page behind shows through. */
const COLOUR = { ours: '#d9622b', others: '#6b87a8', text: '#7d8590', spread: '#7d8590' }

interface Bar {
  readonly name: string
  readonly values: readonly number[]
  readonly isOurs: boolean
}

const PANELS = [
  { title: 'End to end over HTTP, jobs/s', section: 'rate', figure: 'enqueued one by one', way: 'HTTP' },
  { title: 'End to end in process, jobs/s', section: 'rate', figure: 'enqueued one by one', way: 'in process' },
  { title: 'Enqueue one by one, in process, jobs/s', section: 'enqueue', figure: 'one by one', way: 'in process' },
  { title: 'Enqueue to hook over HTTP, p50, ms', section: 'latency', figure: 'p50', way: 'HTTP' },
] as const

/** The figures that people ask for first as bars with their spread, as SVG; the scale is logarithmic, since the systems are far apart. */
export function chart({ figures, arguments: given }: Results): string {
  const note = Number(given['runs']) < ENOUGH_RUNS ? 'logarithmic; a trial, no result' : 'logarithmic'
  const panels = PANELS.map(({ title, section, figure, way }) => ({
    title,
    bars: figures.filter((one) => one.section === section && one.figure === figure && one.way === way).flatMap(barOf),
  })).filter(({ bars }) => bars.length > 0)
  const tops: number[] = []
  let height = 0
  for (const { bars } of panels) {
    tops.push(height)
    height += HEAD + bars.length * ROW + 34
  }
  const svg = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height })
  svg.setOption({
    animation: false,
    backgroundColor: 'transparent',
    title: panels.map(({ title }, at) => ({ text: `${title} (${note})`, left: 8, top: (tops[at] ?? 0) + 12, textStyle: { color: COLOUR.text, fontSize: 15 } })),
    grid: panels.map(({ bars }, at) => ({ left: 290, right: 70, top: (tops[at] ?? 0) + HEAD - 8, height: bars.length * ROW })),
    xAxis: panels.map((_panel, at) => ({
      type: 'log',
      gridIndex: at,

      axisLabel: { color: COLOUR.text },
      splitLine: { lineStyle: { color: COLOUR.text, opacity: 0.25 } },
      ...from(panels[at]?.bars ?? []),
    })),
    yAxis: panels.map(({ bars }, at) => ({
      type: 'category',
      gridIndex: at,
      inverse: true,
      data: bars.map(({ name }) => name),
      axisLabel: { color: COLOUR.text, fontSize: 12 },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: COLOUR.text } },
    })),
    series: panels.flatMap(({ bars }, at) => [
      {
        type: 'bar',
        xAxisIndex: at,
        yAxisIndex: at,
        barWidth: 14,
        label: { show: true, position: 'right', distance: 10, color: COLOUR.text, formatter: ({ value }: { value: number }) => short(value) },
        data: bars.map(({ values, isOurs }) => ({ value: median(values), itemStyle: { color: isOurs ? COLOUR.ours : COLOUR.others } })),
      },
      {
        type: 'custom',
        xAxisIndex: at,
        yAxisIndex: at,
        data: bars.map(({ values }, row) => [Math.min(...values), Math.max(...values), row]),
        renderItem: (_params: unknown, api: { value: (at: number) => number; coord: (point: [number, number]) => [number, number] }) => {
          const [low, y] = api.coord([api.value(0), api.value(2)])
          const [high] = api.coord([api.value(1), api.value(2)])
          return { type: 'line', shape: { x1: low, y1: y, x2: high, y2: y }, style: { stroke: COLOUR.spread, lineWidth: 3 } }
        },
      },
    ]),
  } as Parameters<typeof svg.setOption>[0])
  const text = svg.renderToSVGString()
  svg.dispose()
  return `${text.trim()}\n`
}

function barOf({ system, queues, finished, values }: Figure): Bar[] {
  const known = values.filter((value) => value !== null)
  if (known.length < values.length) return []
  const store = queues === 'own' ? '' : queues === 'redis' ? ', Redis' : ', PostgreSQL'
  const old = finished === 0 ? '' : `, ${finished >= 1_000_000 ? `${finished / 1_000_000} M` : finished} finished`
  return [{ name: `${system}${store}${old}`, values: known, isOurs: system === 'agentbus' }]
}

/** A logarithmic axis begins at a power of ten below the smallest bar. */
function from(bars: readonly Bar[]): { min: number; startValue: number } {
  const min = 10 ** Math.floor(Math.log10(Math.min(...bars.flatMap(({ values }) => values)) / 1.5))
  return { min, startValue: min }
}

const short = (value: number): string => (value >= 10 ? value.toFixed(0) : value.toFixed(1))
