/** @type {Map<string, string>} What the server sent last for each region. */
const sent = new Map()
for (const region of regionsOf(document)) sent.set(region.id, region.innerHTML)

/** @param {Document} page @returns {HTMLElement[]} */
function regionsOf(page) {
  return [...page.querySelectorAll('[data-live]')].filter((one) => one instanceof HTMLElement)
}

/** Somebody is in the middle of something there: a form is open or chosen from, or text is marked. @param {HTMLElement} region */
function isInUse(region) {
  if (region.querySelector(':popover-open') !== null || region.querySelector('input[type=checkbox]:checked') !== null) return true
  const active = document.activeElement
  if (active !== null && region.contains(active) && active.matches('input:not([type=checkbox]), textarea, select')) return true
  const selection = document.getSelection()
  return selection !== null && !selection.isCollapsed && selection.anchorNode !== null && region.contains(selection.anchorNode)
}

/** @type {Promise<void> | undefined} */
let running
let again = false
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
    again = true
    return
  }
  running = read(force).finally(() => {
    running = undefined
    lastMs = performance.now()
    if (!again) return
    again = false
    void refresh()
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
  if (old === null || sent.get(fresh.id) === fresh.innerHTML) return true
  if (!force && isInUse(old)) return false
  sent.set(fresh.id, fresh.innerHTML)
  const open = new Set([...old.querySelectorAll('details')].filter((one) => one.open).map((one) => one.id))
  for (const one of fresh.querySelectorAll('details')) if (old.querySelector(`#${CSS.escape(one.id)}`) !== null) one.open = open.has(one.id)
  const scrolled = [...old.querySelectorAll('[id]')]
    .filter((one) => one.scrollLeft > 0 || one.scrollTop > 0)
    .map((one) => ({ id: one.id, left: one.scrollLeft, top: one.scrollTop }))
  const focus = placeOfFocus(old)
  old.replaceWith(document.adoptNode(fresh))
  for (const { id, left, top } of scrolled) document.getElementById(id)?.scrollTo({ left, top, behavior: 'instant' })
  if (focus !== undefined) findFocus(fresh, focus)?.focus({ preventScroll: true })
  return true
}

/** What will be the same element afterwards. @param {HTMLElement} region */
function placeOfFocus(region) {
  const active = document.activeElement
  if (!(active instanceof HTMLElement) || !region.contains(active)) return undefined
  return { id: active.id, href: active.getAttribute('href'), target: active.getAttribute('popovertarget'), tag: active.tagName }
}

/** @param {HTMLElement} region @param {{ id: string, href: string | null, target: string | null, tag: string }} place @returns {HTMLElement | undefined} */
function findFocus(region, place) {
  const all = [...region.querySelectorAll(place.tag)].filter((one) => one instanceof HTMLElement)
  return all.find((one) =>
    place.id !== ''
      ? one.id === place.id
      : place.target !== null
        ? one.getAttribute('popovertarget') === place.target
        : place.href !== null && one.getAttribute('href') === place.href,
  )
}
