import type { FileProbe } from './file-probe.ts';
import { type MachineConfig, type OptionNames, usageError } from './machine-config.ts';
import {
  DEFAULT_CID,
  MAX_CID,
  MAX_SHARE_NAME,
  MAX_SHARES,
  MAX_VSOCK_PATH,
  MIN_CID,
  type ShareConfig,
  type ShareConfigInput,
  type VsockConfig,
  type VsockConfigInput,
} from './share-config.ts';
import { checkPath } from './validate-paths.ts';

/** The shared folders of a configuration, checked. Throws HostError('usage'). */
export function sharesOf(input: readonly ShareConfigInput[] | undefined, names: OptionNames): readonly ShareConfig[] {
  const seen = new Set<string>();
  return (input ?? []).map(({ name, path, readOnly }, index) => {
    const option = `${names.share} ${name.slice(0, MAX_SHARE_NAME + 1)}`;
    if (!/^[A-Za-z0-9_.-]+$/.test(name) || name.length > MAX_SHARE_NAME) {
      throw usageError(
        `${option}: is not a name for a share`,
        `give 1 to ${MAX_SHARE_NAME} letters, digits and signs of . _ -`,
      );
    }
    if (seen.has(name)) {
      throw usageError(`${option}: is given twice`, 'give each share a name of its own');
    }
    seen.add(name);
    if (index >= MAX_SHARES) {
      throw usageError(`${option}: there is room for ${MAX_SHARES} shares`, 'leave one out');
    }
    checkPath(path, `${names.share} ${name}`);
    return { name, path, readOnly: readOnly ?? false };
  });
}

/** The socket device of a configuration, checked. Throws HostError('usage'). */
export function vsockOf(input: VsockConfigInput | undefined, names: OptionNames): VsockConfig | undefined {
  if (input === undefined) {
    return undefined;
  }
  const { cid = DEFAULT_CID, socket } = input;
  if (!Number.isSafeInteger(cid) || cid < MIN_CID || cid > MAX_CID) {
    throw usageError(`${names.vsock} cid=${cid}: is no address of a guest`, `give a number from ${MIN_CID} on`);
  }
  checkPath(socket, `${names.vsock} socket`);
  const length = new TextEncoder().encode(socket).length;
  if (length > MAX_VSOCK_PATH) {
    throw usageError(
      `${names.vsock} socket=${socket}: ${length} bytes are too long for the path of a socket`,
      `give one of at most ${MAX_VSOCK_PATH} bytes`,
    );
  }
  return { cid, socket };
}

/** Looks at the shared folders, and whether the socket has a place. Throws HostError('usage'). */
export function checkShareFiles({ shares, vsock }: MachineConfig, names: OptionNames, files: FileProbe): void {
  for (const { name, path, readOnly } of shares) {
    const option = `${names.share} ${name}=${path}`;
    const { kind, readable, writable, reason } = files.inspect(path);
    if (kind === 'missing') {
      throw usageError(`${option}: there is no such folder`, 'give a folder to share', {
        reason: 'folder-missing',
        path,
      });
    }
    if (kind === 'error') {
      const cause = reason ?? 'unknown reason';
      const details = { reason: 'file-error', path, cause };
      throw usageError(`${option}: cannot be opened (${cause})`, 'give another folder', details);
    }
    if (kind !== 'directory') {
      throw usageError(`${option}: is no folder`, 'give the folder that holds it', { reason: 'folder-kind', path });
    }
    if (!readable) {
      throw usageError(`${option}: no permission to read it`, 'change its permissions, or give another folder', {
        reason: 'file-not-readable',
        path,
      });
    }
    if (!readOnly && !writable) {
      throw usageError(
        `${option}: no permission to write into it`,
        `share it read-only (${names.share} ${name}=${path},readonly), or change its permissions`,
        { reason: 'file-not-writable', path },
      );
    }
  }
  // Pipes of Windows have a name space of their own.
  if (vsock === undefined || vsock.socket.startsWith('\\\\')) {
    return;
  }
  const option = `${names.vsock} socket=${vsock.socket}`;
  const { kind } = files.inspect(vsock.socket);
  if (kind !== 'missing' && kind !== 'other') {
    throw usageError(`${option}: is no socket, and would be overwritten`, 'give another path');
  }
  const folder = files.inspectFolderOf(vsock.socket);
  if (folder.kind !== 'directory') {
    throw usageError(`${option}: its folder does not exist`, 'create the folder, or give another path');
  }
  if (!folder.writable) {
    throw usageError(`${option}: no permission to write into its folder`, 'give another path');
  }
}
