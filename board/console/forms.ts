import { randomUUID } from 'node:crypto'
import { html, type Html } from './html.js'

export interface ActionForm {
  /** Unique on the page. */
  readonly id: string
  /** On the button that opens it. */
  readonly label: string
  readonly title: string
  /** What it will do, in a sentence. */
  readonly explain: string
  readonly action: string
  readonly hidden: Readonly<Record<string, string>>
  readonly submit: string
  readonly tone?: 'good' | 'bad'
  readonly reasonLabel?: string
  readonly more?: Html
}

/** A button that opens a form asking for a reason. Works by the browser's own popover, without a script; the script answers in place. */
export function actionForm(form: ActionForm): Html {
  return html`<button type="button" class="act ${form.tone ?? ''}" popovertarget="${form.id}">${form.label}</button>
    <div id="${form.id}" popover role="dialog" aria-labelledby="${form.id}-title">
      <form method="post" action="/console/actions/${form.action}" data-action>
        <h2 id="${form.id}-title">${form.title}</h2>
        <p>${form.explain}</p>
        ${Object.entries(form.hidden).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`)} ${onceOnly()} ${form.more ?? ''}
        ${reasonField(form.reasonLabel)}
        <p class="problem" role="alert"></p>
        <div class="buttons">
          <button type="submit" class="primary ${form.tone ?? ''}">${form.submit}</button>
          <button type="button" popovertarget="${form.id}" popovertargetaction="hide">Not now</button>
        </div>
      </form>
    </div>`
}

export function reasonField(label = 'Reason'): Html {
  return html`<label>${label}<textarea name="reason" rows="2" maxlength="4000" required placeholder="It is kept in the history, with your name."></textarea></label>`
}

/** The same form sent twice is carried out once. */
export function onceOnly(): Html {
  return html`<input type="hidden" name="key" value="${randomUUID()}" />`
}
