import { html, type Html, type Part } from './html.js'

/** So much of a text is shown in a page; the API gives the whole of it. */
const SHOWN = 20_000

/** A list of facts; those that are not known are left out. */
export function facts(list: readonly (readonly [string, Part])[]): Html {
  return html`<dl class="facts">
    ${list.flatMap(([name, value]) =>
      value === undefined || value === null || value === false
        ? []
        : [
            html`<div>
              <dt>${name}</dt>
              <dd>${value}</dd>
            </div>`,
          ],
    )}
  </dl>`
}

/** Text as it is, in a box of its own that scrolls. */
export function verbatim(text: string, id: string): Html {
  const cut = text.length > SHOWN
  return html`<pre id="${id}" tabindex="0" dir="auto">${cut ? text.slice(0, SHOWN) : text}</pre>
    ${cut && html`<p class="dim">The first ${SHOWN.toLocaleString('en')} of ${text.length.toLocaleString('en')} characters.</p>`}`
}

export function data(value: unknown, id: string): Html {
  return verbatim(JSON.stringify(value, undefined, 2), id)
}

/** Shown when it is opened; stays open, and keeps the focus, when the page reads itself anew. */
export function folded(id: string, summary: Part, body: Html, options: { readonly open?: boolean } = {}): Html {
  return html`<details id="${id}" ${options.open === true ? html`open` : ''}>
    <summary id="${id}-summary">${summary}</summary>
    ${body}
  </details>`
}
