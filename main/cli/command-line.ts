import type { HostError } from '../../engine/base/host-error.ts';
import type { ChannelConfig, ConsoleTarget } from '../../engine/config/console-config.ts';
import { type MachineConfigInput, type SerialTarget, usageError } from '../../engine/config/machine-config.ts';
import type { ShareConfigInput, VsockConfigInput } from '../../engine/config/share-config.ts';
import type { SoundConfigInput } from '../../engine/config/sound-config.ts';

/** Values of `lodge run` options as text becomes them; each throws HostError('usage') with one line. */

export function wholeNumber(option: string, text: string, unit: string): number {
  if (!/^-?\d{1,15}$/.test(text)) {
    throw usageError(`${option} ${text}: is not a whole number`, `give a number of ${unit}`);
  }
  return Number(text);
}

export function seconds(option: string, text: string): number {
  if (!/^\d{1,9}(\.\d+)?$/.test(text)) {
    throw usageError(`${option} ${text}: is not a time`, 'give a number of seconds');
  }
  return Number(text);
}

type Disk = NonNullable<MachineConfigInput['disks']>[number];

/** Takes `,key=value` and `,flag` parts from the end of a path; a comma in a name is no harm unless it looks so. */
export function splitMedium(
  option: string,
  text: string,
  known: readonly string[],
): [path: string, parts: Map<string, string>] {
  const parts = new Map<string, string>();
  let path = text;
  for (;;) {
    const match = /^(.*),([a-z]+)(?:=([^,=]*))?$/s.exec(path);
    const [, rest, key, value] = match ?? [];
    if (rest === undefined || key === undefined) {
      return [path, parts];
    }
    if (!known.includes(value === undefined ? key : `${key}=`)) {
      if (value === undefined && !known.includes(`${key}=`)) {
        // 'disk,old' is more likely a file's name than a misspelt flag; the file is looked for under this name.
        return [path, parts];
      }
      const choices = known.map((name) => (name.endsWith('=') ? `${name}…` : name)).join(', ');
      const what = value === undefined ? `'${key}' needs a value` : `there is no '${key}='`;
      throw usageError(`${option} ${text}: ${what}`, `after a comma, give ${choices}`);
    }
    if (parts.has(key)) {
      throw usageError(`${option} ${text}: '${key}' is given twice`, 'give it once');
    }
    parts.set(key, value ?? '');
    path = rest;
  }
}

/** `FILE[,bus=ide|virtio|scsi][,port=N][,serial=TEXT][,readonly]` */
export function disk(option: string, text: string): Disk {
  const [path, parts] = splitMedium(option, text, ['bus=', 'port=', 'serial=', 'readonly']);
  const port = parts.get('port');
  return {
    path,
    bus: parts.get('bus'),
    readOnly: parts.has('readonly'),
    port: port === undefined ? undefined : drivePort(option, path, port),
    serial: parts.get('serial'),
  };
}

function drivePort(option: string, path: string, text: string): number {
  if (!/^\d{1,3}$/.test(text)) {
    throw usageError(`${option} ${path},port=${text}: is not a port`, 'give a number');
  }
  return Number(text);
}

/** `FILE[,bus=ide|scsi]` */
export function cdrom(option: string, text: string): NonNullable<MachineConfigInput['cdrom']> {
  const [path, parts] = splitMedium(option, text, ['bus=']);
  return { path, bus: parts.get('bus') };
}

/** `FILE[,readonly]` */
export function floppy(option: string, text: string): { path: string; readOnly: boolean } {
  const [path, parts] = splitMedium(option, text, ['readonly']);
  return { path, readOnly: parts.has('readonly') };
}

export function serial(option: string, text: string): SerialTarget {
  if (text === 'stdio' || text === 'none') {
    return { kind: text };
  }
  if (text.startsWith('file:')) {
    return { kind: 'file', path: text.slice('file:'.length) };
  }
  throw usageError(`${option} ${text}: is not known`, 'give stdio, none or file:PATH');
}

/** `stdio`, `socket:PATH` or `file:PATH` */
export function console(option: string, text: string): ConsoleTarget {
  if (text === 'stdio') {
    return { kind: text };
  }
  for (const kind of ['socket', 'file'] as const) {
    if (text.startsWith(`${kind}:`)) {
      return { kind, path: text.slice(kind.length + 1) };
    }
  }
  throw usageError(`${option} ${text}: is not known`, 'give stdio, socket:PATH or file:PATH');
}

/** `name=NAME,socket=PATH` */
export function channel(option: string, text: string): ChannelConfig {
  const [, name, socket] = /^name=([^,]*),socket=(.*)$/s.exec(text) ?? [];
  if (name === undefined || socket === undefined) {
    throw usageError(`${option} ${text}: is not a channel`, 'write name=NAME,socket=PATH');
  }
  return { name, socket };
}

/** `none`, `null[,input=FILE]` or `wav=FILE[,input=FILE]` */
export function sound(option: string, text: string): SoundConfigInput | 'none' {
  if (text === 'none') {
    return text;
  }
  const [target, parts] = splitMedium(option, text, ['input=']);
  const input = parts.get('input');
  if (target === 'null') {
    return { output: { kind: 'null' }, input };
  }
  if (target.startsWith('wav=')) {
    return { output: { kind: 'wav', path: target.slice('wav='.length) }, input };
  }
  throw usageError(`${option} ${text}: is not known`, 'give wav=FILE, null or none');
}

type Network = NonNullable<MachineConfigInput['network']>;
type Forward = NonNullable<Network['forwards']>[number];

/** `nat[,model=…][,forward=…]…[,host-loopback][,isolated][,capture=FILE][,boot=FOLDER][,bootfile=NAME][,mac=…]` or `none` */
export function network(option: string, text: string): Network | 'none' {
  const [kind, ...parts] = text.split(',');
  if (kind === 'none' && parts.length === 0) {
    return 'none';
  }
  if (kind !== 'nat') {
    throw usageError(`${option} ${text}: is not known`, 'give nat, with its options after commas, or none');
  }
  const known = ['model', 'mac', 'capture', 'boot', 'bootfile'] as const;
  const values = new Map<string, string>();
  const forwards: Forward[] = [];
  const flags = new Set<string>();
  for (const part of parts) {
    const equals = part.indexOf('=');
    const key = equals < 0 ? part : part.slice(0, equals);
    const value = equals < 0 ? undefined : part.slice(equals + 1);
    if (key === 'forward' && value !== undefined) {
      forwards.push(portForward(`${option} forward=`, value));
    } else if (value === undefined && (key === 'host-loopback' || key === 'isolated')) {
      flags.add(key);
    } else if (value !== undefined && known.some((name) => name === key) && !values.has(key)) {
      values.set(key, value);
    } else {
      const what = values.has(key) ? `'${key}' is given twice` : `there is no '${part}'`;
      throw usageError(
        `${option} ${text}: ${what}`,
        `after a comma, give ${known.map((name) => `${name}=…`).join(', ')}, forward=…, host-loopback or isolated`,
      );
    }
  }
  if (flags.has('isolated') && flags.has('host-loopback')) {
    throw usageError(
      `${option} ${text}: isolated keeps the guest from everything outside, host-loopback included`,
      'give one of them',
    );
  }
  return {
    model: values.get('model'),
    mac: values.get('mac'),
    forwards,
    hostLoopback: flags.has('host-loopback'),
    isolated: flags.has('isolated'),
    capture: values.get('capture'),
    bootFolder: values.get('boot'),
    bootFile: values.get('bootfile'),
  };
}

/**
 * `tcp:[HOSTADDRESS:]HOSTPORT:[GUESTADDRESS:]GUESTPORT`, or `udp:…`; IPv6 addresses in brackets. `option` is what stands
 * before it.
 */
export function portForward(option: string, text: string): Forward {
  const match = /^([a-z]+):(?:(?:\[([^\]]+)\]|([^:\]]+)):)?(\d{1,6}):(?:([\d.]+):)?(\d{1,6})$/.exec(text);
  const [, protocol, host6, host4, hostPort, guestAddress, guestPort] = match ?? [];
  if (protocol === undefined || hostPort === undefined || guestPort === undefined) {
    throw usageError(
      `${option}${text}: is not a forward`,
      `write ${option}tcp:HOSTPORT:GUESTPORT, or ${option}udp:HOSTPORT:GUESTPORT`,
    );
  }
  const hostAddress = host6 ?? host4;
  return { protocol, hostAddress, hostPort: Number(hostPort), guestAddress, guestPort: Number(guestPort) };
}

/** `NAME=FOLDER[,readonly]` */
export function share(option: string, text: string): ShareConfigInput {
  const [, name, rest] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || rest === undefined) {
    throw usageError(`${option} ${text}: is not a share`, 'write NAME=FOLDER, or NAME=FOLDER,readonly');
  }
  const [path, parts] = splitMedium(option, rest, ['readonly']);
  return { name, path, readOnly: parts.has('readonly') };
}

/** `[cid=N,]socket=PATH` */
export function vsock(option: string, text: string): VsockConfigInput {
  const [, cid, socket] = /^(?:cid=(\d{1,15}),)?socket=(.*)$/s.exec(text) ?? [];
  if (socket === undefined) {
    throw usageError(`${option} ${text}: is not known`, 'write cid=N,socket=PATH, or socket=PATH');
  }
  return { ...(cid === undefined ? {} : { cid: Number(cid) }), socket };
}

function splitMoment(option: string, text: string, example: string): [what: string, atSeconds: number] {
  const at = text.lastIndexOf('@');
  if (at < 0) {
    throw usageError(`${option} ${text}: says no moment`, `write ${example}`);
  }
  const moment = text.slice(at + 1);
  if (!/^\d{1,9}(\.\d+)?$/.test(moment)) {
    throw usageError(`${option} ${text}: '${moment}' is not a number of seconds`, `write ${example}`);
  }
  return [text.slice(0, at), Number(moment)];
}

/** `FILE.png@SECONDS` */
export function screenshot(option: string, text: string): { path: string; atSeconds: number } {
  const [path, atSeconds] = splitMoment(option, text, 'FILE.png@SECONDS');
  return { path, atSeconds };
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', e: '\x1b', b: '\b', '\\': '\\' };

/** `TEXT@SECONDS`; in the text `\n`, `\t`, `\e`, `\b` and `\\` are what they are in C. */
export function typed(option: string, text: string): { text: string; atSeconds: number } {
  const [what, atSeconds] = splitMoment(option, text, '"TEXT@SECONDS"');
  return { text: what.replace(/\\(.)/gs, (both, letter: string) => ESCAPES[letter] ?? both), atSeconds };
}

/** What an error says to the user: one line, with the remedy unless the message has it already. */
export function oneLine(error: HostError): string {
  const message =
    error.remedy === undefined || error.message.includes(error.remedy)
      ? error.message
      : `${error.message}; ${error.remedy}`;
  return message.replace(/\s*[\r\n]+\s*/g, ' ').trim();
}
