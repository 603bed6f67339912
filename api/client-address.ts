import { BlockList, isIP } from 'node:net'

/** The parts of a request that tell who sent it. */
export interface Sender {
  readonly socket: { readonly remoteAddress?: string | undefined }
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

/** Hops that are looked at; a longer list is not one of proxies of ours. */
const MOST_HOPS = 50

/**
 * Tells clients apart for throttling. The address is that of the connection; only where it is one of our own proxies, the nearest
 * address before it in `X-Forwarded-For` that is none. IPv6 counts by /64, because whoever has one address there has them all.
 */
export class ClientAddresses {
  readonly #proxies = new BlockList()

  /** @param trustedProxies IP addresses and ranges, as the settings have checked them */
  constructor(trustedProxies: readonly string[]) {
    for (const range of trustedProxies) {
      const [address = '', prefix] = range.split('/')
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
      if (prefix === undefined) this.#proxies.addAddress(address, family)
      else this.#proxies.addSubnet(address, Number(prefix), family)
    }
  }

  /** What the client is counted by. */
  of(sender: Sender): string {
    let address = plain(sender.socket.remoteAddress ?? '')
    const header = sender.headers['x-forwarded-for']
    const hops = (Array.isArray(header) ? header.join(',') : (header ?? '')).split(',').slice(-MOST_HOPS)
    for (let hop = hops.pop(); hop !== undefined && this.#isProxy(address); hop = hops.pop()) {
      const before = plain(hop.trim())
      if (isIP(before) === 0) break
      address = before
    }
    return isIP(address) === 6 ? `${network(address)}::/64` : address
  }

  #isProxy(address: string): boolean {
    const family = isIP(address)
    return family !== 0 && this.#proxies.check(address, family === 6 ? 'ipv6' : 'ipv4')
  }
}

/** An address without zone; one of IPv4 that came over IPv6 as IPv4, however it is spelled. */
function plain(text: string): string {
  const address = text.split('%')[0] ?? ''
  if (isIP(address) !== 6) return address
  const groups = groupsOf(address)
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  const [high = 0, low = 0] = groups.slice(6)
  return isMapped ? [high >> 8, high & 255, low >> 8, low & 255].join('.') : address
}

function network(address: string): string {
  return groupsOf(address)
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')
}

/** The eight groups of an IPv6 address, whichever way it is written. */
function groupsOf(address: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const [, head = '', a, b, c, d] = dotted ?? []
  const whole = dotted === null ? address : `${head}${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`
  const [left = '', right] = whole.split('::')
  const parse = (part: string): number[] => (part === '' ? [] : part.split(':').map((group) => parseInt(group, 16)))
  const [first, last] = [parse(left), right === undefined ? [] : parse(right)]
  return [...first, ...Array<number>(Math.max(0, 8 - first.length - last.length)).fill(0), ...last]
}
