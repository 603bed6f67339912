const MOST = 500

/** The tail of events: new ones at the top, held back while somebody reads. */
export function startTail() {
  const body = document.querySelector('#tail tbody')
  const note = document.getElementById('tail-note')
  const hold = document.getElementById('hold')
  /** @type {{ id: string, row: string }[]} */
  let waiting = []
  let isHeld = false

  const say = () => {
    if (note !== null) note.textContent = isHeld ? `Held: ${waiting.length} new.` : ''
  }
  /** @param {string} id @param {string} row */
  const put = (id, row) => {
    if (body === null || document.getElementById(`event-${id}`) !== null) return
    const holder = new DOMParser().parseFromString(`<table><tbody>${row}</tbody></table>`, 'text/html')
    const made = holder.querySelector('tr')
    if (made === null) return
    // By id: one that was committed late has its place further down.
    const below = [...body.children].find((one) => idOf(one) < Number(id))
    body.insertBefore(document.adoptNode(made), below ?? null)
    while (body.children.length > MOST) body.lastElementChild?.remove()
    const empty = document.getElementById('tail-empty')
    if (empty !== null) empty.hidden = true
  }
  if (hold instanceof HTMLButtonElement && body !== null) {
    hold.hidden = false
    hold.addEventListener('click', () => {
      isHeld = !isHeld
      hold.setAttribute('aria-pressed', String(isHeld))
      hold.textContent = isHeld ? 'Go on' : 'Hold'
      if (!isHeld) for (const { id, row } of waiting.splice(0)) put(id, row)
      say()
    })
  }
  return {
    /** @param {string} id @param {string} row */
    add: (id, row) => {
      if (!isHeld) return put(id, row)
      waiting = [...waiting, { id, row }].slice(-MOST)
      say()
    },
    gap: () => {
      if (note !== null) note.textContent = 'More happened than this page was told; load it again for the newest.'
    },
  }
}

/** @param {Element} row */
function idOf(row) {
  return Number(row.id.replace('event-', ''))
}
