// A directory, watched. inotify tells of changes in it at once, but not of a directory that has come into the place of the watched one
// (made anew, renamed, mounted over), nor of what a symlink in it leads to; and a machine may have no watches left. So it is looked
// twice a second, too. man 7 inotify

import { statSync, watch, type BigIntStats, type FSWatcher } from 'node:fs'

/** How often it is looked although nobody said so. Milliseconds. */
const AGAIN = 500

/** All look at the same moments: waking up costs more than looking. */
const ticks = new Set<() => void>()
let interval: NodeJS.Timeout | undefined

function join(tick: () => void): void {
  ticks.add(tick)
  interval ??= setInterval(() => ticks.forEach((each) => each()), AGAIN)
}

function withdraw(tick: () => void): void {
  ticks.delete(tick)
  if (ticks.size > 0) return
  clearInterval(interval)
  interval = undefined
}

export class DirectoryWatch {
  readonly #path: string
  readonly #hear: (name: string | undefined) => void
  readonly #first = setImmediate(() => this.#look())
  readonly #tick = () => this.#look()
  #watcher: FSWatcher | undefined
  /** Which directory is watched: see place. */
  #watched = ''

  /** `hear` gets the name of each entry that changes, empty if it may be any; undefined when it is time to look. */
  constructor(path: string, hear: (name: string | undefined) => void) {
    this.#path = path
    this.#hear = hear
    join(this.#tick)
  }

  /** True while nothing is heard but that it is time to look. */
  get deaf(): boolean {
    return this.#watcher === undefined
  }

  close(): void {
    clearImmediate(this.#first)
    withdraw(this.#tick)
    this.#watcher?.close()
    this.#watcher = undefined
  }

  #look(): void {
    const before = this.#watched
    if (this.#watcher === undefined || place(this.#path) !== before) this.#watch()
    this.#hear(before === '' || before === this.#watched ? undefined : '')
  }

  /** Where it cannot be watched, to look has to do. */
  #watch(): void {
    this.#watcher?.close()
    this.#watcher = undefined
    this.#watched = place(this.#path)
    if (this.#watched === 'ENOENT') return
    try {
      const watcher = watch(this.#path, (_, name) => this.#hear(name ?? ''))
      watcher.on('error', () => this.#fail(watcher))
      this.#watcher = watcher
    } catch {
      // as above
    }
  }

  /** The next time that it is looked it is watched anew. */
  #fail(watcher: FSWatcher): void {
    watcher.close()
    if (this.#watcher === watcher) this.#watcher = undefined
  }
}

/** Which file stands under a name, and as of when. */
export const identityOf = (path: string): string => about(path, ({ dev, ino, size, mtimeNs, ctimeNs }) => [dev, ino, size, mtimeNs, ctimeNs])

/** Which file stands under a name, with which content; not how many other names it has. */
export const contentOf = (path: string): string => about(path, ({ dev, ino, size, mtimeNs }) => [dev, ino, size, mtimeNs])

/** Which directory stands under a name. */
const place = (path: string): string => about(path, ({ dev, ino }) => [dev, ino])

/** Some of what is known of a path, or what hinders to know it. */
function about(path: string, some: (there: BigIntStats) => bigint[]): string {
  try {
    return some(statSync(path, { bigint: true })).join()
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown'
  }
}
