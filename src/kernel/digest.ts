// A list that the kernel gave, in 64 bits: enough to see that thousands of entries are what they were a minute ago without
// making a text of each. Two FNV-1a hashes over 32-bit words, with primes of their own. http://www.isthe.com/chongo/tech/comp/fnv

export class Digest {
  #a = 0x811c9dc5 | 0
  #b = 0x2b2d7f1b | 0
  #count = 0

  /** Takes a message's bytes up to `end`; what does not fill a word is padding. */
  add(data: Buffer, from: number, end: number): void {
    let [a, b] = [this.#a, this.#b]
    for (let at = from; at + 4 <= end; at += 4) {
      const word = data.readInt32LE(at)
      a = Math.imul(a ^ word, 0x01000193)
      b = Math.imul(b ^ word, 0x5bd1e995)
      b ^= b >>> 15
    }
    this.#a = a
    this.#b = b
    this.#count++
  }

  text(): string {
    return `${this.#count} ${(this.#a >>> 0).toString(16)}${(this.#b >>> 0).toString(16).padStart(8, '0')}`
  }
}
