// Where the system's message bus listens: addresses as D-Bus writes them, of which a program takes the first that it can reach.
// https://dbus.freedesktop.org/doc/dbus-specification.html, "Server Addresses", "Well-known Message Bus Instances"

/** The sockets of the system's bus, as the environment says it, else the well-known one, by the name that /var/run leads to. */
export function systemBus(address = process.env.DBUS_SYSTEM_BUS_ADDRESS): string[] {
  return socketsIn(address || 'unix:path=/run/dbus/system_bus_socket')
}

/**
 * The unix sockets in `unix:path=/run/a;unix:abstract=b,guid=…;tcp:host=…`: paths, abstract ones with a NUL before their name. man 7
 * unix. Other transports are other programs' to use, and what is no address is passed over.
 */
export function socketsIn(addresses: string): string[] {
  return addresses.split(';').flatMap((address) => {
    const [, transport, options = ''] = /^([^:]*):(.*)$/s.exec(address) ?? []
    const values = new Map(options.split(',').map((option) => [option.slice(0, option.indexOf('=')), unescape(option.slice(option.indexOf('=') + 1))]))
    const [path, abstract] = [values.get('path'), values.get('abstract')]
    if (transport !== 'unix' || (path === undefined) === (abstract === undefined)) return []
    const socket = path ?? `\0${abstract}`
    const bytes = Buffer.byteLength(socket)
    return bytes > 1 && bytes < SUN_PATH && !path?.includes('\0') ? [socket] : []
  })
}

const SUN_PATH = 108 // bytes, with the NUL that ends a path. <linux/un.h>

/** `%2f` is a slash. What is no escape stays, and is then no path of anybody's. */
const unescape = (value: string): string => value.replace(/(?:%[0-9a-fA-F]{2})+/g, (escaped) => Buffer.from(escaped.replaceAll('%', ''), 'hex').toString())
