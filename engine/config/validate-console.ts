import {
  type ChannelConfig,
  type ConsoleTarget,
  MAX_CHANNEL_NAME,
  MAX_CHANNELS,
  MAX_SOCKET_PATH,
} from './console-config.ts';
import type { FileProbe } from './file-probe.ts';
import { type MachineConfig, type MachineConfigInput, type OptionNames, usageError } from './machine-config.ts';
import { checkPath } from './validate-paths.ts';

/** The console and the channels of a configuration, checked. Throws HostError('usage'). */
export function consolesOf(
  input: MachineConfigInput,
  names: OptionNames,
): { readonly console?: ConsoleTarget; readonly channels: readonly ChannelConfig[] } {
  const { console } = input;
  if (console?.kind === 'file') {
    checkPath(console.path, names.console);
  } else if (console?.kind === 'socket') {
    checkSocketPath(console.path, names.console);
  } else if (console?.kind === 'stdio' && input.serial?.kind === 'stdio') {
    throw usageError(
      `${names.console} stdio: standard input and output belong to ${names.serial} already`,
      `give ${names.serial} none or file:PATH`,
    );
  }
  const channels = input.channels ?? [];
  if (channels.length > MAX_CHANNELS) {
    const extra = channels[MAX_CHANNELS]?.name ?? '';
    throw usageError(`${names.channel} name=${extra}: there is room for ${MAX_CHANNELS} channels`, 'leave one out');
  }
  for (const [index, { name, socket }] of channels.entries()) {
    checkChannelName(name, names.channel);
    checkSocketPath(socket, `${names.channel} socket`);
    if (channels.slice(0, index).some((other) => other.name === name)) {
      throw usageError(`${names.channel} name=${name}: is given twice`, 'give each channel a name of its own');
    }
  }
  return { ...(console === undefined ? {} : { console }), channels };
}

/** Throws HostError('usage') unless a guest can show `name` as /dev/virtio-ports/NAME. */
export function checkChannelName(name: string, option: string): void {
  if (!/^[A-Za-z0-9_.+:-]+$/.test(name) || name.length > MAX_CHANNEL_NAME || /^\.+$/.test(name)) {
    throw usageError(
      `${option} name=${name.slice(0, MAX_CHANNEL_NAME)}: is not a name for a channel`,
      `give 1 to ${MAX_CHANNEL_NAME} letters, digits and signs of . _ + : -, such as org.qemu.guest_agent.0`,
    );
  }
}

/** Throws HostError('usage') unless a socket can have this path. */
export function checkSocketPath(path: string, option: string): void {
  checkPath(path, option);
  const length = new TextEncoder().encode(path).length;
  if (length > MAX_SOCKET_PATH) {
    throw usageError(
      `${option} ${path}: ${length} bytes are too long for the path of a socket`,
      `give one of at most ${MAX_SOCKET_PATH} bytes`,
    );
  }
}

/** Looks whether the sockets and files of consoles and channels have a place. Throws HostError('usage'). */
export function checkConsoleFiles(config: MachineConfig, names: OptionNames, files: FileProbe): void {
  const sockets = config.channels.map(({ name, socket }) => ({
    option: `${names.channel} name=${name},socket`,
    socket,
  }));
  if (config.console?.kind === 'socket') {
    sockets.unshift({ option: names.console, socket: config.console.path });
  }
  const seen = new Map<string, string>();
  for (const { option, socket } of sockets) {
    // Pipes of Windows have a name space of their own.
    if (socket.startsWith('\\\\')) {
      continue;
    }
    const facts = files.inspect(socket);
    if (facts.kind !== 'missing' && facts.kind !== 'other') {
      throw usageError(`${option} ${socket}: is no socket, and would be overwritten`, 'give another path');
    }
    const folder = files.inspectFolderOf(socket);
    if (folder.kind !== 'directory' || !folder.writable) {
      const what = folder.kind === 'directory' ? 'no permission to write into its folder' : 'its folder does not exist';
      throw usageError(`${option} ${socket}: ${what}`, 'give another path');
    }
    const resolved = files.resolve(socket);
    const other = seen.get(resolved);
    if (other !== undefined) {
      throw usageError(`${option} ${socket}: ${other} has the same socket`, 'give each a socket of its own');
    }
    seen.set(resolved, option);
  }
}
