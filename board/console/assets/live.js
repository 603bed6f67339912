import { objectOf } from './json.js'

/** The reading of the last event that came, for a stream that begins anew. */
let last = ''
/** @type {EventSource | undefined} */
let source
/** @type {ReturnType<typeof setTimeout> | undefined} */
let retry

/**
 * Holds one stream while the page is seen, and says whether it is live.
 * @param {{ onChange: () => void, onHappened: (id: string, row: string) => void, onGap: () => void }} handlers
 */
export function goLive(handlers) {
  const sign = document.getElementById('live')
  if (sign === null) return
  const words = sign.querySelector('.words')

  /** @param {boolean} isLive @param {string} text */
  const say = (isLive, text) => {
    sign.classList.toggle('on', isLive)
    if (words !== null && words.textContent !== text) words.textContent = text
  }
  const open = () => {
    clearTimeout(retry)
    source?.close()
    const query = new URLSearchParams(sign.dataset['stream'] ?? '')
    if (last !== '') query.set('last', last)
    const stream = new EventSource(`/console/live?${query.toString()}`)
    source = stream
    /** @param {MessageEvent} event */
    const seen = (event) => {
      if (event.lastEventId !== '') last = event.lastEventId
      say(true, 'live')
    }
    stream.addEventListener('hello', seen)
    stream.addEventListener('changed', (event) => {
      seen(event)
      handlers.onChange()
    })
    stream.addEventListener('happened', (event) => {
      seen(event)
      const { id, row } = objectOf(String(event.data))
      handlers.onHappened(String(id), String(row))
    })
    stream.addEventListener('gap', handlers.onGap)
    stream.addEventListener('error', () => {
      say(false, 'not live')
      // The browser comes again by itself unless it was refused.
      if (stream.readyState === EventSource.CLOSED) retry = setTimeout(open, 10_000)
    })
  }
  const shut = () => {
    clearTimeout(retry)
    source?.close()
    source = undefined
    say(false, 'not live')
  }

  // A browser has few connections to one server: a page that nobody sees gives its own back.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) shut()
    else if (source === undefined) {
      open()
      handlers.onChange()
    }
  })
  addEventListener('pagehide', shut)
  addEventListener('pageshow', (event) => {
    if (event.persisted && source === undefined) open()
  })
  if (!document.hidden) open()
}
