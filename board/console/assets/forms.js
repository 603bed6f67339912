import { objectOf } from './json.js'

/**
 * Sends forms that change something without leaving the page, and shows what came of it. Without this script the browser
 * sends them itself and shows a page.
 * @param {() => void} onDone
 */
export function answerForms(onDone) {
  document.addEventListener('submit', (event) => {
    const form = event.target
    if (!(form instanceof HTMLFormElement) || form.dataset['action'] === undefined) return
    event.preventDefault()
    void send(form, event.submitter, onDone)
  })
  // In a form that opens, the first thing to fill in has the focus.
  document.addEventListener(
    'toggle',
    (event) => {
      const opened = event.target
      if (!(opened instanceof HTMLElement) || !opened.matches(':popover-open')) return
      const field = opened.querySelector('textarea, input:not([type=hidden]), select')
      if (field instanceof HTMLElement) field.focus()
    },
    true,
  )
}

/** @param {HTMLFormElement} form @param {HTMLElement | null} submitter @param {() => void} onDone */
async function send(form, submitter, onDone) {
  const problem = form.querySelector('.problem')
  const buttons = [...form.querySelectorAll('button')]
  const body = new URLSearchParams()
  for (const [name, value] of new FormData(form, submitter)) if (typeof value === 'string') body.append(name, value)
  if (problem !== null) problem.textContent = ''
  for (const button of buttons) button.disabled = true
  try {
    // A button may name an action of its own.
    const address = submitter instanceof HTMLButtonElement && submitter.hasAttribute('formaction') ? submitter.formAction : form.action
    const answer = await fetch(address, { method: 'POST', body, headers: { accept: 'application/json' } })
    const text = await answer.text()
    if (!answer.ok) throw new Error(problemOf(text, answer.status))
    const popover = form.closest('[popover]')
    if (popover instanceof HTMLElement) popover.hidePopover()
    form.reset()
    // What is sent from here next is another thing, though the form is the same.
    const key = form.elements.namedItem('key')
    if (key instanceof HTMLInputElement) key.value = freshKey()
    tell(String(objectOf(text)['message']))
    onDone()
  } catch (error) {
    const why =
      error instanceof TypeError
        ? 'The server cannot be reached; nothing is known of what it did. Send it again: it is carried out once.'
        : error instanceof Error
          ? error.message
          : String(error)
    if (problem !== null) problem.textContent = why
  } finally {
    for (const button of buttons) button.disabled = false
  }
}

/** Like `crypto.randomUUID`, which browsers keep from pages that come by plain HTTP from another machine. */
function freshKey() {
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** What a problem document says. @param {string} text @param {number} status */
function problemOf(text, status) {
  const { detail, next, code } = objectOf(text)
  return typeof detail === 'string' ? `${detail} ${String(next)} (${String(code)})` : `The server answered ${status}.`
}

/** @param {string} message */
function tell(message) {
  const told = document.getElementById('told')
  if (told === null) return
  const line = document.createElement('p')
  line.textContent = message
  told.replaceChildren(line)
}
