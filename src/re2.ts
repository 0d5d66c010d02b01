// Regular expressions of others: in RE2's syntax, which has nothing that could take longer than in proportion to the text.

import { RE2JS } from 're2js'

/** Whether a text has something that the expression matches, as Go's regexp.MatchString. Throws if it is none. */
export function re2(expression: string): (text: string) => boolean {
  const compiled = RE2JS.compile(expression)
  return (text) => compiled.test(text)
}
