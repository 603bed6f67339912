/** @type {Map<string, string>} What the server sent last for each region. */
const sent = new Map()
for (const region of regionsOf(document)) sent.set(region.id, markupOf(region))

/** @param {Document} page @returns {HTMLElement[]} */
function regionsOf(page) {
  return [...page.querySelectorAll('[data-live]')].filter((one) => one instanceof HTMLElement)
}

/** What a region says. Each reading gives each form a key of its own, and that is no difference. @param {HTMLElement} region */
function markupOf(region) {
  return region.innerHTML.replace(/(<input type="hidden" name="key" value=")[^"]*/g, '$1')
}

/** Somebody is in the middle of something there: a form is open, chosen from or written in, or text is marked. @param {HTMLElement} region */
function isInUse(region) {
  if (region.querySelector(':popover-open') !== null || region.querySelector('input[type=checkbox]:checked') !== null) return true
  // What was closed again is not seen, and would hold the region for good: what is written there is carried over.
  if (typedIn(region).some((field) => field.closest('[popover], details:not([open])') === null)) return true
  const active = document.activeElement
  if (active !== null && region.contains(active) && active.matches('input:not([type=checkbox]), textarea, select')) return true
  const selection = document.getSelection()
  return selection !== null && !selection.isCollapsed && selection.anchorNode !== null && region.contains(selection.anchorNode)
}

/** @type {Promise<void> | undefined} */
let running
/** What was asked for while a reading was under way, which may have begun too early to tell of it. @type {{ force: boolean } | undefined} */
let next
let lastMs = -Infinity
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer

/** Milliseconds between two readings that this page asks for at least. */
function leastMs() {
  return Number(document.getElementById('live')?.dataset['every'] ?? '2') * 1_000
}

/**
 * Reads the page anew and exchanges the regions that differ. Not more often than the page says; what comes in between is one
 * reading at the end. `force` does not wait, and exchanges what is in use, too: the person has just sent it.
 * @param {{ force?: boolean }} [options]
 */
export async function refresh({ force = false } = {}) {
  clearTimeout(timer)
  const waitMs = lastMs + leastMs() - performance.now()
  if (!force && waitMs > 0) {
    timer = setTimeout(() => void refresh(), waitMs)
    return
  }
  if (running !== undefined) {
    next = { force: force || next?.force === true }
    return
  }
  running = read(force).finally(() => {
    running = undefined
    lastMs = performance.now()
    const asked = next
    next = undefined
    if (asked !== undefined) void refresh(asked)
  })
  await running
}

/** @param {boolean} force */
async function read(force) {
  const live = document.getElementById('live')
  try {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' } })
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`)
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
    let held = false
    for (const region of regionsOf(page)) held = !exchange(region, force) || held
    if (live !== null) live.dataset['held'] = held ? 'yes' : ''
  } catch (error) {
    if (live !== null) live.dataset['problem'] = error instanceof Error ? error.message : String(error)
    return
  }
  if (live !== null) delete live.dataset['problem']
}

/** @param {HTMLElement} fresh @param {boolean} force @returns {boolean} false when it had to stay */
function exchange(fresh, force) {
  const old = document.getElementById(fresh.id)
  const markup = markupOf(fresh)
  if (old === null || sent.get(fresh.id) === markup) return true
  if (!force && isInUse(old)) return false
  sent.set(fresh.id, markup)
  const open = new Set([...old.querySelectorAll('details')].filter((one) => one.open).map((one) => one.id))
  for (const one of fresh.querySelectorAll('details')) if (old.querySelector(`#${CSS.escape(one.id)}`) !== null) one.open = open.has(one.id)
  const scrolled = [...old.querySelectorAll('[id]')]
    .filter((one) => one.scrollLeft > 0 || one.scrollTop > 0)
    .map((one) => ({ id: one.id, left: one.scrollLeft, top: one.scrollTop }))
  carryOver(old, fresh)
  const active = document.activeElement
  const focus = active !== null && old.contains(active) ? placeOf(old, active) : undefined
  old.replaceWith(document.adoptNode(fresh))
  for (const { id, left, top } of scrolled) document.getElementById(id)?.scrollTo({ left, top, behavior: 'instant' })
  if (focus !== undefined) inPlace(fresh, focus)?.focus({ preventScroll: true })
  return true
}

/** Fields in which somebody has written, and not sent it. @param {HTMLElement} region */
function typedIn(region) {
  return [...region.querySelectorAll('input, textarea')].flatMap((one) =>
    (one instanceof HTMLInputElement || one instanceof HTMLTextAreaElement) && one.value !== one.defaultValue ? [one] : [],
  )
}

/**
 * What was written stays where it was, with the key of its form: what was sent, and had no answer, is still carried out once.
 * @param {HTMLElement} old @param {HTMLElement} fresh
 */
function carryOver(old, fresh) {
  for (const field of typedIn(old)) {
    const same = inPlace(fresh, placeOf(old, field))
    if (!(same instanceof HTMLInputElement || same instanceof HTMLTextAreaElement)) continue
    same.value = field.value
    const [key, freshKey] = [keyOf(field.form), keyOf(same.form)]
    if (key !== undefined && freshKey !== undefined) freshKey.value = key.value
  }
}

/** @param {HTMLFormElement | null} form */
function keyOf(form) {
  const key = form?.elements.namedItem('key')
  return key instanceof HTMLInputElement ? key : undefined
}

/** @typedef {{ tag: string, sign: string, at: number }} Place What will be the same element in the region that comes. */

/** Several may look alike: then it is the one as far down. @param {HTMLElement} region @param {Element} one @returns {Place} */
function placeOf(region, one) {
  const sign = signOf(one)
  const alike = [...region.querySelectorAll(one.tagName)].filter((other) => signOf(other) === sign)
  return { tag: one.tagName, sign, at: alike.indexOf(one) }
}

/** @param {HTMLElement} region @param {Place} place @returns {HTMLElement | undefined} */
function inPlace(region, { tag, sign, at }) {
  const found = [...region.querySelectorAll(tag)].filter((one) => signOf(one) === sign)[at]
  return found instanceof HTMLElement ? found : undefined
}

/**
 * What tells an element from others: its id, or the row in which it stands with where it leads, what it opens or what it sends.
 * The same link is in many rows, and a row that is new must not get the focus of the one that it pushes down.
 * @param {Element} one
 */
function signOf(one) {
  if (one.id !== '') return one.id
  const row = one.parentElement?.closest('tr, li, [id]') ?? undefined
  const name = row === undefined || row.id !== '' ? row?.id : row.querySelector('a')?.getAttribute('href')
  return [name, ...['href', 'popovertarget', 'name', 'value'].map((attribute) => one.getAttribute(attribute))].join('\n')
}
