// Before the first paint, so that nothing flashes. Without a choice the system's own is followed.
try {
  const theme = localStorage.getItem('agentbus-theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset['theme'] = theme
} catch {
  // Storage may be forbidden; the system's choice holds.
}
