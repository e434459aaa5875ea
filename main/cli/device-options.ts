import { resolve } from 'node:path';
import {
  COMMAND_LINE_NAMES,
  type DiskBus,
  type MachineConfigInput,
  type OptionNames,
  usageError,
} from '../../engine/config/machine-config.ts';
import { DEFAULT_HOST_ADDRESS, type PortForwardConfig } from '../../engine/config/network-config.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import type { PortForward, PortForwardKey, Share } from '../contract/devices.ts';
import { diskSizeSchema, MAX_DISK_GIGABYTES, type MachineSettings } from '../contract/machines.ts';
import type { NetworkWish } from '../contract/new-network.ts';
import * as parse from './command-line.ts';

/** Devices of registered machines as options of the command line describe them. Everything throws HostError('usage'). */

function check(input: MachineConfigInput, names: Partial<OptionNames>) {
  return validateMachineConfig(input, { names: { ...COMMAND_LINE_NAMES, ...names } });
}

function contractForward({ guestAddress, ...forward }: PortForwardConfig): PortForward {
  return { ...forward, guestAddress: guestAddress ?? null };
}

/** The one of `choices` that `text` names. */
export function oneOf<T extends string>(setting: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) {
    throw usageError(`${setting} ${text}: is not known`, `give ${choices.join(' or ')}`);
  }
  return found;
}

/** What `--net` says, checked, with whole paths. */
export function networkWish(option: string, text: string): NetworkWish | 'none' {
  const given = parse.network(option, text);
  if (given === 'none') {
    return given;
  }
  const { network } = check({ network: given }, { network: option });
  const any = network?.forwards.find(({ hostPort }) => hostPort === 0);
  if (network === undefined || any !== undefined) {
    throw usageError(
      `${option} ${text}: host port 0 is for machines that run`,
      'give a port from 1 to 65535, or add the forward with lodge forward while it runs',
    );
  }
  const { model, mac, forwards, hostLoopback, isolated, capture, bootFolder, bootFile } = network;
  const path = (wanted: string | undefined) => (wanted === undefined ? undefined : resolve(wanted));
  return {
    ...(given.model === undefined ? {} : { model }),
    ...(given.mac === undefined ? {} : { mac }),
    forwards: forwards.map(contractForward),
    hostLoopback,
    isolated,
    capture: path(capture),
    bootFolder: path(bootFolder),
    bootFile,
  };
}

/** `tcp:[HOSTADDRESS:]HOSTPORT:[GUESTADDRESS:]GUESTPORT`, checked; `option` is what stands before it. */
export function forwardWish(option: string, text: string): PortForward {
  const { network } = check({ network: { forwards: [parse.portForward(option, text)] } }, {});
  const forward = network?.forwards[0];
  if (forward === undefined) {
    throw usageError(`${option}${text}: is not a forward`, 'write tcp:HOSTPORT:GUESTPORT');
  }
  return contractForward(forward);
}

/** `tcp:[HOSTADDRESS:]HOSTPORT`, or a whole forward. */
export function forwardKey(text: string): PortForwardKey {
  const match = /^(tcp|udp):(?:(?:\[([^\]]+)\]|([^:\]]+)):)?(\d{1,6})$/.exec(text);
  const [, protocol, host6, host4, hostPort] = match ?? [];
  if (protocol === undefined) {
    const { hostAddress, hostPort: port, protocol: kind } = forwardWish('', text);
    return { protocol: kind, hostAddress, hostPort: port };
  }
  const port = Number(hostPort);
  if (port < 1 || port > 65535) {
    throw usageError(`${text}: there is no such host port`, 'give a port from 1 to 65535');
  }
  return {
    protocol: protocol === 'tcp' ? 'tcp' : 'udp',
    hostAddress: host6 ?? host4 ?? DEFAULT_HOST_ADDRESS,
    hostPort: port,
  };
}

export interface DiskWish {
  readonly path: string;
  readonly bus: DiskBus | undefined;
  readonly readOnly: boolean;
  readonly serial: string | undefined;
}

/** `FILE[,bus=…][,serial=…][,readonly]`, checked, with a whole path. */
export function diskWish(option: string, text: string): DiskWish {
  const [path, parts] = parse.splitMedium(option, text, ['bus=', 'serial=', 'readonly']);
  const { bus, serial } = diskTraits(option, path, parts);
  return { path: resolve(path), bus, readOnly: parts.has('readonly'), serial };
}

/** `GB[,bus=…][,serial=…]` */
export function newDiskWish(
  option: string,
  text: string,
): { sizeGigabytes: number } & Pick<DiskWish, 'bus' | 'serial'> {
  const [size, parts] = parse.splitMedium(option, text, ['bus=', 'serial=']);
  if (!/^\d{1,9}(\.\d+)?$/.test(size)) {
    throw usageError(`${option} ${size}: is not a size`, 'give a number of gigabytes');
  }
  const sizeGigabytes = Number(size);
  if (!diskSizeSchema.safeParse(sizeGigabytes).success) {
    throw usageError(`${option} ${size}: is out of range`, `give 0.001 to ${MAX_DISK_GIGABYTES} gigabytes`);
  }
  return { sizeGigabytes, ...diskTraits(option, size, parts) };
}

function diskTraits(
  option: string,
  path: string,
  parts: ReadonlyMap<string, string>,
): Pick<DiskWish, 'bus' | 'serial'> {
  const given = { path, bus: parts.get('bus'), serial: parts.get('serial') };
  const [disk] = check({ disks: [given] }, { disk: option }).disks;
  return { bus: given.bus === undefined ? undefined : disk?.bus, serial: disk?.serial };
}

/** `NAME=FOLDER[,readonly]`, checked, with a whole path. */
export function shareWish(option: string, text: string): Share {
  const { name, path, readOnly = false } = parse.share(option, text);
  check({ shares: [{ name, path, readOnly }] }, { share: option });
  return { name, path: resolve(path), readOnly };
}

/** `none`, `null[,input=FILE]` or `wav=FILE[,input=FILE]`, checked, with whole paths; null is none. */
export function soundWish(option: string, text: string): MachineSettings['sound'] {
  const given = parse.sound(option, text);
  if (given === 'none') {
    return null;
  }
  check({ sound: given }, { sound: option });
  const { output, input } = given;
  return {
    output: output.kind === 'wav' ? resolve(output.path) : null,
    input: input === undefined ? null : resolve(input),
  };
}
