// Conditions of portmap, in words of nft, or the few of iptables that people have in their conflists. Pure; whether nf_tables
// understands the text is seen where it is encoded.

/** A condition as text of nft: `["!", "-s", "192.0.2.0/24"]` is `ip saddr != 192.0.2.0/24`. */
export function conditionText(words: string[] | undefined = []): string {
  if (!words.some((word) => word.startsWith('-'))) return words.join(' ')
  const list = [...words]
  const parts: string[] = []
  while (list.length > 0) parts.push(oneOf(list))
  return parts.join(' ')
}

/** The first option of iptables in a list, which loses it; as it stands if it is none of those known here. */
function oneOf(list: string[]): string {
  const not = list[0] === '!' ? `${list.shift()}= ` : ''
  const [option = '', value = ''] = list.splice(0, 2)
  const ip = value.includes(':') ? 'ip6' : 'ip'
  switch (option) {
    case '-s':
    case '--source':
      return `${ip} saddr ${not}${value}`
    case '-d':
    case '--destination':
      return `${ip} daddr ${not}${value}`
    case '-i':
    case '--in-interface':
      return `iifname ${not}"${value}"`
    default:
      return `${not}${option} ${value}`.trim()
  }
}
