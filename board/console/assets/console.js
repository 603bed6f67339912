import { answerForms } from './forms.js'
import { goLive } from './live.js'
import { refresh } from './regions.js'
import { startTail } from './tail.js'

const THEMES = /** @type {const} */ (['auto', 'light', 'dark'])

/** The switch goes round: as the system, light, dark. */
function startTheme() {
  const button = document.getElementById('theme')
  if (!(button instanceof HTMLButtonElement)) return
  const shown = () => document.documentElement.dataset['theme'] ?? 'auto'
  button.textContent = `Theme: ${shown()}`
  button.hidden = false
  button.addEventListener('click', () => {
    const next = THEMES[(THEMES.findIndex((theme) => theme === shown()) + 1) % THEMES.length] ?? 'auto'
    if (next === 'auto') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = next
    button.textContent = `Theme: ${next}`
    try {
      if (next === 'auto') localStorage.removeItem('agentbus-theme')
      else localStorage.setItem('agentbus-theme', next)
    } catch {
      // It holds for this page.
    }
  })
}

startTheme()
answerForms(() => void refresh({ force: true }))
const tail = startTail()
goLive({ onChange: () => void refresh(), onHappened: tail.add, onGap: tail.gap })
