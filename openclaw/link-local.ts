import { lookup as resolve, type LookupAddress, type LookupOptions } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'

/**
 * Addresses that no receiver of messages has, and where clouds hand out credentials to whoever asks: link-local ones, and
 * the one that AWS uses in IPv6. An IPv4 address written as IPv6 counts as what it is.
 */
const CREDENTIALS = new BlockList()
CREDENTIALS.addSubnet('169.254.0.0', 16, 'ipv4')
CREDENTIALS.addSubnet('fe80::', 10, 'ipv6')
CREDENTIALS.addAddress('fd00:ec2::254', 'ipv6')

/** Whether a host, as a URL has it, is such an address. A name is judged when it is resolved. */
export function isCredentialsAddress(host: string): boolean {
  const address = host.replace(/^\[|\]$/g, '')
  const family = isIP(address)
  return family !== 0 && CREDENTIALS.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

/** Resolves a name for a connection, and refuses it when any of its addresses is one of those. */
export const lookupWithoutCredentials: LookupFunction = (host, options: LookupOptions, done) => {
  resolve(host, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error !== null) return done(error, '', 0)
    if (addresses.some(({ address }) => isCredentialsAddress(address))) return done(new Error('the name leads to a link-local address'), '', 0)
    if (options.all === true) return done(null, addresses)
    const [first] = addresses
    return done(null, first?.address ?? '', first?.family)
  })
}
