import type { Attention } from '../../ledger/console/attention.js'
import { COUNTED_TO } from '../../ledger/console/attention.js'
import { html, type Html } from './html.js'

export interface Page {
  readonly title: string
  /** What stands beside the title. */
  readonly tools?: Html
  readonly main: Html
  /** Seconds that the page waits at least before it reads anew. */
  readonly everySeconds?: number
  /** A further query for the stream of the page. */
  readonly stream?: string
}

const PAGES = [
  { path: '/', name: 'Fleet' },
  { path: '/console/accountability', name: 'Accountability' },
  { path: '/console/jobs', name: 'Jobs' },
  { path: '/console/flow', name: 'Flow' },
  { path: '/console/blocked', name: 'Blocked', counted: (a: Attention) => a.blocked + a.approvals },
  { path: '/console/dead-letters', name: 'Dead letters', counted: (a: Attention) => a.dead },
  { path: '/console/health', name: 'Health', counted: (a: Attention) => a.alerts },
  { path: '/console/events', name: 'Events' },
  { path: '/console/controls', name: 'Controls', counted: (a: Attention) => a.paused },
] as const satisfies readonly { readonly path: string; readonly name: string; readonly counted?: (attention: Attention) => number }[]

/** The whole document. Regions with `data-live` are exchanged by the script when something has changed. */
export function documentOf(page: Page, around: { readonly path: string; readonly person: string; readonly attention: Attention | undefined }): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${page.title} · agentbus</title>
        <link rel="icon" href="/console/assets/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/console/assets/console.css" />
        <script src="/console/assets/theme.js"></script>
        <script type="module" src="/console/assets/console.js"></script>
      </head>
      <body>
        <a class="skip" href="#main">To the content</a>
        <header class="bar">
          <a class="brand" href="/"><img src="/console/assets/icon.svg" alt="" width="20" height="20" />agentbus</a>
          <nav id="pages" aria-label="Pages" data-live>
            <ul>
              ${PAGES.map((one) => entry(one, around))}
            </ul>
          </nav>
          <div class="state">
            <span id="live" class="live" role="status" data-stream="${page.stream ?? ''}" data-every="${page.everySeconds ?? 2}"
              ><span class="dot" aria-hidden="true"></span><span class="words">not live</span></span
            >
            <button type="button" id="theme" class="quiet" hidden>Theme: auto</button>
            <span class="who" title="Signed in as"><bdi>${around.person}</bdi></span>
          </div>
        </header>
        <main id="main" tabindex="-1">
          <div class="head">
            <h1>${page.title}</h1>
            ${page.tools ?? ''}
          </div>
          <div id="told" role="status" aria-live="polite"></div>
          ${page.main}
        </main>
        <footer>Every time is UTC. Queues as BullMQ sees them: <a href="/board">Bull Board</a>.</footer>
      </body>
    </html> `.text
}

function entry(one: (typeof PAGES)[number], { path, attention }: { readonly path: string; readonly attention: Attention | undefined }): Html {
  const waiting = 'counted' in one && attention !== undefined ? one.counted(attention) : 0
  const isHere = one.path === '/' ? path === '/' : path.startsWith(one.path)
  const number = waiting >= COUNTED_TO ? `${COUNTED_TO - 1}+` : String(waiting)
  return html`<li>
    <a href="${one.path}" ${isHere ? html`aria-current="page"` : ''}
      >${one.name}${waiting > 0 && html` <span class="count">${number}<span class="unseen"> waiting</span></span>`}</a
    >
  </li>`
}
