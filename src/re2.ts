// The asset that src/later.ts loads: regular expressions of others, in RE2's syntax, which has nothing that could take longer than in
// proportion to the text.

export { RE2JS } from 're2js'
