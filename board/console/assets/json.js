/** An object from JSON text; empty for anything else. @param {string} text @returns {Record<string, unknown>} */
export function objectOf(text) {
  try {
    /** @type {unknown} */
    const value = JSON.parse(text)
    return value !== null && typeof value === 'object' ? { ...value } : {}
  } catch {
    return {}
  }
}
