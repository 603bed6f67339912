import { isServerRefusal } from './database.js'

export interface GroupedOptions<Item, Result> {
  /**
   * Does the work for all items in one statement that is a transaction of its own. @returns a result for each item, in order
   */
  readonly work: (items: readonly Item[]) => Promise<readonly Result[]>
  /** Items in one statement at most. */
  readonly most: number
}

interface Waiting<Item, Result> {
  readonly item: Item
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

/**
 * Group commit: what is asked for while earlier statements are under way goes to the database as one statement. Alone, an
 * item goes at once; under load a statement, its plan, its commit and its flush to disk are shared by dozens.
 *
 * Items stand and fall alone: when PostgreSQL refuses a group, nothing of it was written, and each item is tried by itself.
 * An error that leaves open what was written (a lost connection) goes to all of them, and none is tried again.
 */
export class Grouped<Item, Result> {
  readonly #options: GroupedOptions<Item, Result>
  #waiting: Waiting<Item, Result>[] = []
  #underWay = false

  constructor(options: GroupedOptions<Item, Result>) {
    this.#options = options
  }

  do(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject })
      this.#next()
    })
  }

  /** At the end of this turn of the event loop, so that what one turn brings goes together. */
  #next(): void {
    if (this.#underWay || this.#waiting.length === 0) return
    this.#underWay = true
    setImmediate(() => {
      void this.#send(this.#waiting.splice(0, this.#options.most)).finally(() => {
        this.#underWay = false
        this.#next()
      })
    })
  }

  async #send(group: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#options.work(group.map(({ item }) => item))
      if (results.length !== group.length) throw new Error(`a group of ${group.length} had ${results.length} results`)
      group.forEach(({ resolve }, at) => resolve(results[at] as Result))
    } catch (error) {
      if (group.length === 1 || !isServerRefusal(error)) group.forEach(({ reject }) => reject(error))
      else await Promise.all(group.map((one) => this.#send([one])))
    }
  }
}
