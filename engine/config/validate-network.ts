import { type OptionNames, usageError } from './machine-config.ts';
import {
  DEFAULT_HOST_ADDRESS,
  DEFAULT_MAC,
  forwardText,
  MAX_PORT_FORWARDS,
  NETWORK_MODELS,
  type NetworkConfig,
  type NetworkConfigInput,
  type NetworkModel,
  type PortForwardConfig,
} from './network-config.ts';
import { optionalPath } from './validate-paths.ts';

const MAX_BOOT_FILE = 127;

/** The network of a configuration, completed and checked; undefined when there is none. Throws HostError('usage'). */
export function networkOf(input: NetworkConfigInput | undefined, names: OptionNames): NetworkConfig | undefined {
  if (input === undefined) {
    return undefined;
  }
  const option = names.network;
  const capture = optionalPath(input.capture, `${option} capture`);
  const bootFolder = optionalPath(input.bootFolder, `${option} boot`);
  const { bootFile } = input;
  if (bootFile !== undefined && (bootFile === '' || new TextEncoder().encode(bootFile).length > MAX_BOOT_FILE)) {
    throw usageError(`${option} bootfile=${bootFile}: is not a name`, `give 1 to ${MAX_BOOT_FILE} bytes`);
  }
  if (bootFile !== undefined && bootFolder === undefined && !/^[a-z]+:\/\//.test(bootFile)) {
    throw usageError(`${option} bootfile=${bootFile}: there is no folder that it is in`, 'add boot=FOLDER');
  }
  return {
    model: modelOf(input.model, option),
    mac: macOf(input.mac, option),
    linkUp: input.linkUp ?? true,
    forwards: forwardsOf(input, option),
    hostLoopback: input.hostLoopback ?? false,
    isolated: input.isolated ?? false,
    ...(capture === undefined ? {} : { capture }),
    ...(bootFolder === undefined ? {} : { bootFolder }),
    ...(bootFile === undefined ? {} : { bootFile }),
  };
}

function modelOf(model: string | undefined, option: string): NetworkModel {
  if (model === undefined) {
    return 'e1000';
  }
  const known = NETWORK_MODELS.find((name) => name === model);
  if (known === undefined) {
    throw usageError(`${option} model=${model}: there is no such card`, `give model=${NETWORK_MODELS.join(' or ')}`);
  }
  return known;
}

function macOf(mac: string | undefined, option: string): string {
  if (mac === undefined) {
    return DEFAULT_MAC;
  }
  const isGroup = (Number.parseInt(mac.slice(0, 2), 16) & 1) !== 0;
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac) || isGroup || /^[0:]+$/.test(mac)) {
    throw usageError(`${option} mac=${mac}: is no address of a card`, `give one such as ${DEFAULT_MAC}`);
  }
  return mac.toLowerCase();
}

function forwardsOf(input: NetworkConfigInput, option: string): readonly PortForwardConfig[] {
  const seen = new Set<string>();
  return (input.forwards ?? []).map((wanted, index) => {
    const { protocol, hostAddress = DEFAULT_HOST_ADDRESS, hostPort, guestAddress, guestPort } = wanted;
    const text = `${option} forward=${forwardText({ protocol, hostAddress, hostPort, guestAddress, guestPort })}`;
    if (protocol !== 'tcp' && protocol !== 'udp') {
      throw usageError(`${text}: '${protocol}' is no protocol that is forwarded`, 'give tcp or udp');
    }
    if (index >= MAX_PORT_FORWARDS) {
      throw usageError(`${text}: more than ${MAX_PORT_FORWARDS} ports are forwarded`, 'forward fewer');
    }
    if (!isPort(hostPort, 0) || !isPort(guestPort, 1)) {
      const [which, least] = isPort(hostPort, 0) ? ['guest', 1] : ['host', 0];
      throw usageError(`${text}: there is no such ${which} port`, `give a port from ${least} to 65535`);
    }
    if (!isHostAddress(hostAddress)) {
      throw usageError(`${text}: '${hostAddress}' is no address`, 'give an address of this host, such as 127.0.0.1');
    }
    if (guestAddress !== undefined && !isGuestAddress(guestAddress)) {
      throw usageError(`${text}: '${guestAddress}' is no address of a guest`, 'give one from 10.0.2.4 to 10.0.2.254');
    }
    const key = `${protocol} ${hostAddress} ${hostPort}`;
    if (hostPort !== 0 && seen.has(key)) {
      throw usageError(`${text}: this port of the host is forwarded twice`, 'give another host port');
    }
    seen.add(key);
    return { protocol, hostAddress, hostPort, ...(guestAddress === undefined ? {} : { guestAddress }), guestPort };
  });
}

function isPort(port: number, least: number): boolean {
  return Number.isSafeInteger(port) && port >= least && port <= 65535;
}

function isHostAddress(text: string): boolean {
  const isDotted = /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split('.').every((part) => Number(part) <= 255);
  return isDotted || (text.includes(':') && /^[0-9a-f:.]{2,45}$/i.test(text));
}

function isGuestAddress(text: string): boolean {
  const host = /^10\.0\.2\.(\d{1,3})$/.exec(text)?.[1];
  return host !== undefined && Number(host) >= 4 && Number(host) <= 254;
}
