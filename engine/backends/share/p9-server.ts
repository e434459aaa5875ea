import type { BigIntStats } from 'node:fs';
import { fdatasyncSync, fsyncSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { FolderWatch } from './folder-watch.ts';
import { HostTree, type TreeNode, type TreeState } from './host-tree.ts';
import { ERRNO, errnoName, isFileError, ShareError } from './linux-errno.ts';
import { MessageReader, MessageWriter, type Qid } from './p9-codec.ts';
import { type Fid, FidTable, hostFlags } from './p9-fids.ts';
import {
  AT_REMOVEDIR,
  ERROR_BYTES,
  FILE_SYSTEM_MAGIC,
  GETATTR_BASIC,
  HEADER_BYTES,
  LOCK_SUCCESS,
  LOCK_TYPE_UNLOCK,
  MAX_WALK_NAMES,
  MIN_MESSAGE_BYTES,
  MODE_FILE,
  MODE_SET_ID,
  MODE_TYPE,
  OPEN,
  P9,
  QID_DIRECTORY,
  QID_LINK,
  READ_REPLY_HEADER_BYTES,
  SET,
} from './p9-protocol.ts';
import { MAX_MESSAGE_BYTES, MAX_NAME_BYTES, type ShareState } from './share-backend.ts';

/** The longest contents of a symbolic link (Linux, PATH_MAX). */
const MAX_LINK_BYTES = 4096;
/** Bits of a mode that pass to the host: not those that lend the owner's rights to whoever runs a file. */
const PERMISSIONS = 0o777;
const STICKY = 0o1000;
const ACCESS_READ = 4;

export interface P9ServerOptions {
  readonly path: string;
  readonly readOnly: boolean;
  /** Gets one line when the host fails: no space, a folder that has vanished. */
  readonly onTrouble: (message: string) => void;
  /** As in HostTree. */
  readonly anchored?: boolean | undefined;
  /** Milliseconds. */
  readonly now?: () => number;
  /** What another server of the same folder has given away. */
  readonly session?: P9Session | undefined;
}

/** A session with everything that is open in it, for a server in another thread to go on with: structured data. */
export interface P9Session {
  readonly tree: TreeState;
  readonly fids: ReadonlyMap<number, Fid>;
  readonly messageBytes: number;
  readonly devices: ReadonlyMap<bigint, bigint>;
}

type Handler = (reader: MessageReader, writer: MessageWriter) => void;
type OpenFid = Fid & { readonly node: TreeNode; readonly descriptor: number };

/**
 * A server of 9P2000.L for one folder and one guest. It answers one message after the other, with plain file calls:
 * whoever must not wait for the host gives it a thread of its own.
 *
 * What it does not do: extended attributes (Node has no calls for them), devices, pipes and sockets (they stay what the
 * host has; a guest can make none and open none), set-user-ID bits (a guest must not lend its host's rights), and locks
 * beyond the guest (Linux keeps those of its own processes itself, and asks whether anybody else minds). Everything is
 * done as the user whom Lodge runs as, whoever asks in the guest, which checks its users' permissions by itself.
 */
export class P9Server {
  readonly #tree: HostTree;
  readonly #fids: FidTable;
  readonly #readOnly: boolean;
  readonly #watch: FolderWatch;
  /** The longest message; 0 before Tversion. */
  #messageBytes = 0;
  /** Numbers of file systems below the folder, which tell objects with the same inode number apart. */
  readonly #devices: Map<bigint, bigint>;
  readonly #handlers: ReadonlyMap<number, Handler>;

  /** Throws what Node throws when the folder cannot be opened. */
  constructor({ path, readOnly, onTrouble, anchored, now = () => performance.now(), session }: P9ServerOptions) {
    this.#tree = new HostTree(path, anchored, now, session?.tree);
    this.#fids = new FidTable(this.#tree, session?.fids);
    this.#messageBytes = session?.messageBytes ?? 0;
    this.#devices = new Map(session?.devices);
    this.#readOnly = readOnly;
    this.#watch = new FolderWatch(() => this.#tree.rootIsThere, onTrouble, now);
    this.#handlers = this.#makeHandlers();
  }

  /** Carries out one message. Returns the length of the answer in `reply`, 0 when there can be none. What guests or the host do wrong is an answer. */
  handle(request: Uint8Array, reply: Uint8Array): number {
    if (request.length < HEADER_BYTES || reply.length < ERROR_BYTES) {
      return 0;
    }
    const message = new MessageReader(request);
    const writer = new MessageWriter(reply);
    try {
      const handler = this.#handlers.get(message.type);
      if (!message.complete) {
        throw new ShareError('EPROTO');
      }
      if (handler === undefined) {
        throw new ShareError('EOPNOTSUPP');
      }
      if (this.#messageBytes === 0 && message.type !== P9.version) {
        throw new ShareError('EPROTO');
      }
      if (this.#messageBytes !== 0 && message.bytes.length > this.#messageBytes) {
        throw new ShareError('EMSGSIZE');
      }
      handler(message, writer);
      return writer.finish(message.type + 1, message.tag);
    } catch (error) {
      if (!isFileError(error)) {
        throw error;
      }
      const name = errnoName(error);
      if (!(error instanceof ShareError) || name === 'ENOENT') {
        this.#watch.failed(name);
      }
      writer.at = HEADER_BYTES;
      writer.u32(ERRNO[name]);
      return writer.finish(P9.lerror + 1, message.tag);
    }
  }

  /** Ends the session. */
  reset(): void {
    this.#fids.clear();
    this.#messageBytes = 0;
  }

  save(): ShareState {
    return { messageBytes: this.#messageBytes, fids: this.#fids.save() };
  }

  load({ messageBytes, fids }: ShareState): void {
    this.#fids.load(fids);
    this.#messageBytes = messageBytes;
  }

  /** The session, for another server. This one has nothing left to do, and nothing to dispose of. */
  giveAway(): P9Session {
    const fids = this.#fids.giveAway();
    return { tree: this.#tree.giveAway(), fids, messageBytes: this.#messageBytes, devices: this.#devices };
  }

  dispose(): void {
    this.#fids.clear();
    this.#tree.dispose();
  }

  #makeHandlers(): ReadonlyMap<number, Handler> {
    const change =
      (handler: Handler): Handler =>
      (reader, writer) => {
        if (this.#readOnly) {
          throw new ShareError('EROFS');
        }
        handler(reader, writer);
      };
    const refuse = (): never => {
      throw new ShareError('EOPNOTSUPP');
    };
    return new Map<number, Handler>([
      [P9.version, (reader, writer) => this.#version(reader, writer)],
      [P9.auth, refuse],
      [P9.attach, (reader, writer) => this.#attach(reader, writer)],
      // Messages are carried out in turn: what is to be flushed has been answered.
      [P9.flush, (reader) => void reader.u16()],
      [P9.walk, (reader, writer) => this.#walk(reader, writer)],
      [P9.clunk, (reader) => this.#fids.remove(reader.u32())],
      [P9.remove, (reader) => this.#removeFid(reader)],
      [P9.statfs, (reader, writer) => this.#statfs(reader, writer)],
      [P9.lopen, (reader, writer) => this.#open(reader, writer)],
      [P9.lcreate, change((reader, writer) => this.#create(reader, writer))],
      [P9.symlink, change((reader, writer) => this.#symlink(reader, writer))],
      [P9.mknod, change((reader, writer) => this.#mknod(reader, writer))],
      [P9.rename, change((reader) => this.#rename(reader))],
      [P9.renameat, change((reader) => this.#renameAt(reader))],
      [P9.readlink, (reader, writer) => writer.string(this.#tree.readLink(this.#fids.get(reader.u32()).node))],
      [P9.getattr, (reader, writer) => this.#getattr(reader, writer)],
      [P9.setattr, change((reader) => this.#setattr(reader))],
      [P9.xattrwalk, refuse],
      [P9.xattrcreate, refuse],
      [P9.readdir, (reader, writer) => this.#readdir(reader, writer)],
      [P9.fsync, (reader) => this.#fsync(reader)],
      [P9.lock, (reader, writer) => this.#lock(reader, writer)],
      [P9.getlock, (reader, writer) => this.#getlock(reader, writer)],
      [P9.link, change((reader) => this.#link(reader))],
      [P9.mkdir, change((reader, writer) => this.#mkdir(reader, writer))],
      [P9.unlinkat, change((reader) => this.#unlinkAt(reader))],
      [P9.read, (reader, writer) => this.#read(reader, writer)],
      [P9.write, change((reader, writer) => this.#write(reader, writer))],
    ]);
  }

  // The session.

  #version(reader: MessageReader, writer: MessageWriter): void {
    const wanted = reader.u32();
    const version = reader.string();
    if (wanted < MIN_MESSAGE_BYTES) {
      throw new ShareError('EMSGSIZE');
    }
    this.#fids.clear();
    const known = version === '9P2000.L';
    this.#messageBytes = known ? Math.min(wanted, MAX_MESSAGE_BYTES) : 0;
    writer.u32(Math.min(wanted, MAX_MESSAGE_BYTES));
    writer.string(known ? version : 'unknown');
  }

  #attach(reader: MessageReader, writer: MessageWriter): void {
    const fid = reader.u32();
    this.#fids.checkFree(fid);
    const { root } = this.#tree;
    const qid = this.#qid(root, this.#tree.stat(root));
    this.#fids.set(fid, root);
    writer.qid(qid);
  }

  #qid(node: TreeNode, stats: BigIntStats): Qid {
    const { device, inode, kind } = node;
    let number = this.#devices.get(device);
    if (number === undefined) {
      number = device === this.#tree.root.device ? 0n : BigInt(this.#devices.size + 1);
      this.#devices.set(device, number);
    }
    return {
      type: kind === 'directory' ? QID_DIRECTORY : kind === 'link' ? QID_LINK : 0,
      version: Number(BigInt.asUintN(32, (stats.mtimeNs / 1000n) ^ stats.size)),
      path: BigInt.asUintN(64, inode ^ (number << 48n)),
    };
  }

  #walk(reader: MessageReader, writer: MessageWriter): void {
    const fid = reader.u32();
    const newFid = reader.u32();
    const count = reader.u16();
    const { node, flags } = this.#fids.get(fid);
    if (count > MAX_WALK_NAMES || (fid === newFid && flags !== undefined)) {
      throw new ShareError('EINVAL');
    }
    if (fid !== newFid) {
      this.#fids.checkFree(newFid);
    }
    const countAt = writer.skip(2);
    const tree = this.#tree;
    let at = node;
    tree.hold(at);
    let done = 0;
    try {
      for (; done < count; done++) {
        const name = reader.string();
        if (at.kind !== 'directory') {
          throw new ShareError('ENOTDIR');
        }
        // Upwards, but never out of the shared folder (walk(5): ".." of the root is the root).
        const seen = name === '..' ? { node: at.parent ?? at, stats: tree.stat(at.parent ?? at) } : tree.look(at, name);
        writer.qid(this.#qid(seen.node, seen.stats));
        tree.hold(seen.node);
        tree.letGo(at);
        at = seen.node;
      }
      this.#fids.set(newFid, at);
    } catch (error) {
      // The first name decides; after that the answer says how far the way goes.
      if (done === 0) {
        throw error;
      }
    } finally {
      tree.letGo(at);
    }
    writer.patchU16(countAt, done);
  }

  // Files.

  #open(reader: MessageReader, writer: MessageWriter): void {
    const fid = this.#fids.get(reader.u32());
    const flags = reader.u32();
    if (fid.flags !== undefined) {
      throw new ShareError('EINVAL');
    }
    const { node } = fid;
    const changes = (flags & OPEN.accessMode) !== OPEN.readOnly || (flags & OPEN.truncate) !== 0;
    if (changes && this.#readOnly) {
      throw new ShareError('EROFS');
    }
    if (node.kind === 'directory') {
      if (changes) {
        throw new ShareError('EISDIR');
      }
      this.#tree.checkAccess(node, ACCESS_READ);
    } else {
      if ((flags & OPEN.directory) !== 0) {
        throw new ShareError('ENOTDIR');
      }
      const descriptor = this.#tree.open(node, hostFlags(flags));
      fid.descriptor = descriptor;
      if ((flags & OPEN.truncate) !== 0) {
        ftruncateSync(descriptor, 0);
      }
    }
    fid.flags = flags;
    writer.qid(this.#qid(node, this.#tree.stat(node)));
    writer.u32(0);
  }

  #create(reader: MessageReader, writer: MessageWriter): void {
    const number = reader.u32();
    const fid = this.#fids.get(number);
    const name = reader.string();
    const flags = reader.u32();
    const mode = reader.u32();
    if (fid.flags !== undefined) {
      throw new ShareError('EINVAL');
    }
    const exclusive = (flags & OPEN.exclusive) !== 0;
    const tree = this.#tree;
    const { node, descriptor } = tree.create(fid.node, name, hostFlags(flags), mode & PERMISSIONS, exclusive);
    // From here on the fid is the file.
    const created = this.#fids.set(number, node);
    tree.letGo(node);
    created.descriptor = descriptor;
    created.flags = flags;
    if ((flags & OPEN.truncate) !== 0) {
      ftruncateSync(descriptor, 0);
    }
    writer.qid(this.#qid(node, tree.stat(node)));
    writer.u32(0);
  }

  #opened(fid: Fid & { readonly node: TreeNode }): OpenFid {
    if (fid.node.kind === 'directory') {
      throw new ShareError('EISDIR');
    }
    if (fid.descriptor === undefined) {
      throw new ShareError('EBADF');
    }
    return fid as OpenFid;
  }

  #read(reader: MessageReader, writer: MessageWriter): void {
    const { descriptor } = this.#opened(this.#fids.get(reader.u32()));
    const offset = reader.u64();
    const count = Math.min(reader.u32(), writer.bytes.length - READ_REPLY_HEADER_BYTES);
    const countAt = writer.skip(4);
    // Beyond what any file can be long there is nothing to read.
    let got = 0;
    while (got < count && offset + BigInt(got) < 1n << 62n) {
      const read = readSync(descriptor, writer.bytes, countAt + 4 + got, count - got, offset + BigInt(got));
      if (read === 0) {
        break;
      }
      got += read;
    }
    writer.skip(got);
    writer.patchU32(countAt, got);
  }

  #write(reader: MessageReader, writer: MessageWriter): void {
    const { descriptor } = this.#opened(this.#fids.get(reader.u32()));
    const offset = reader.u64();
    const bytes = reader.data(reader.u32());
    if (offset >= BigInt(Number.MAX_SAFE_INTEGER) - BigInt(bytes.length)) {
      throw new ShareError('EFBIG');
    }
    let done = 0;
    while (done < bytes.length) {
      try {
        done += writeSync(descriptor, bytes, done, bytes.length - done, Number(offset) + done);
      } catch (error) {
        if (done === 0) {
          throw error;
        }
        break;
      }
    }
    writer.u32(done);
  }

  #fsync(reader: MessageReader): void {
    const fid = this.#fids.get(reader.u32());
    // Older kernels leave the last field out.
    const dataOnly = reader.at + 4 <= reader.bytes.length && reader.u32() !== 0;
    if (fid.descriptor !== undefined) {
      (dataOnly ? fdatasyncSync : fsyncSync)(fid.descriptor);
    } else if (fid.node.kind === 'directory') {
      this.#tree.syncFolder(fid.node);
    }
  }

  #lock(reader: MessageReader, writer: MessageWriter): void {
    this.#opened(this.#fids.get(reader.u32()));
    writer.u8(LOCK_SUCCESS);
  }

  #getlock(reader: MessageReader, writer: MessageWriter): void {
    this.#opened(this.#fids.get(reader.u32()));
    reader.u8();
    const [start, length, process, client] = [reader.u64(), reader.u64(), reader.u32(), reader.string()];
    writer.u8(LOCK_TYPE_UNLOCK);
    writer.u64(start);
    writer.u64(length);
    writer.u32(process);
    writer.string(client);
  }

  // What files are like.

  #getattr(reader: MessageReader, writer: MessageWriter): void {
    const { node } = this.#fids.get(reader.u32());
    const stats = this.#tree.stat(node);
    writer.u64(GETATTR_BASIC);
    writer.qid(this.#qid(node, stats));
    writer.u32(Number(stats.mode));
    writer.u32(Number(stats.uid));
    writer.u32(Number(stats.gid));
    writer.u64(stats.nlink);
    // The host's devices are not the guest's: what looks like one leads nowhere.
    writer.u64(0n);
    writer.u64(BigInt.asUintN(64, stats.size));
    writer.u64(stats.blksize);
    writer.u64(stats.blocks);
    for (const nanos of [stats.atimeNs, stats.mtimeNs, stats.ctimeNs]) {
      writer.u64(BigInt.asUintN(64, nanos / 1_000_000_000n));
      writer.u64(BigInt.asUintN(64, nanos % 1_000_000_000n));
    }
    // Birth, generation and data version: not among the valid fields.
    for (let i = 0; i < 4; i++) {
      writer.u64(0n);
    }
  }

  #setattr(reader: MessageReader): void {
    const fid = this.#fids.get(reader.u32());
    const { node } = fid;
    const valid = reader.u32();
    const [mode, uid, gid, size] = [reader.u32(), reader.u32(), reader.u32(), reader.u64()];
    const time = () => {
      const seconds = BigInt.asIntN(64, reader.u64());
      return Number(seconds) + Number(reader.u64()) / 1e9;
    };
    const [accessed, modified] = [time(), time()];
    const has = (bit: number) => (valid & bit) !== 0;
    const tree = this.#tree;
    const stats = tree.stat(node);
    if (has(SET.mode)) {
      const special = mode & MODE_SET_ID;
      if ((special & ~Number(stats.mode)) !== 0) {
        throw new ShareError('EPERM');
      }
      tree.setMode(node, special | (mode & (PERMISSIONS | STICKY)));
    }
    if (has(SET.uid) || has(SET.gid)) {
      const owner = has(SET.uid) ? uid : Number(stats.uid);
      const group = has(SET.gid) ? gid : Number(stats.gid);
      if (owner !== Number(stats.uid) || group !== Number(stats.gid)) {
        tree.setOwner(node, owner, group);
      }
    }
    if (has(SET.size)) {
      this.#setSize(fid, size);
    }
    if (has(SET.accessTime) || has(SET.modifyTime)) {
      const now = Date.now() / 1000;
      const choose = (bit: number, given: number, time_: number, old: bigint) =>
        has(bit) ? (has(given) ? time_ : now) : Number(old) / 1e9;
      tree.setTimes(
        node,
        choose(SET.accessTime, SET.accessTimeGiven, accessed, stats.atimeNs),
        choose(SET.modifyTime, SET.modifyTimeGiven, modified, stats.mtimeNs),
      );
    }
  }

  #setSize(fid: Fid & { readonly node: TreeNode }, size: bigint): void {
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new ShareError('EFBIG');
    }
    const writable = ((fid.flags ?? 0) & OPEN.accessMode) !== OPEN.readOnly;
    if (fid.descriptor !== undefined && writable) {
      ftruncateSync(fid.descriptor, Number(size));
      return;
    }
    const descriptor = this.#tree.open(fid.node, hostFlags(OPEN.writeOnly));
    try {
      ftruncateSync(descriptor, Number(size));
    } finally {
      this.#tree.close(fid.node, descriptor);
    }
  }

  #statfs(reader: MessageReader, writer: MessageWriter): void {
    const { bsize, blocks, bfree, bavail, files, ffree } = this.#tree.fileSystem(this.#fids.get(reader.u32()).node);
    writer.u32(FILE_SYSTEM_MAGIC);
    writer.u32(Number(BigInt.asUintN(32, bsize)));
    for (const value of [blocks, bfree, bavail, files, ffree, 0n]) {
      writer.u64(BigInt.asUintN(64, value));
    }
    writer.u32(MAX_NAME_BYTES);
  }

  // Folders.

  #readdir(reader: MessageReader, writer: MessageWriter): void {
    const fid = this.#fids.get(reader.u32());
    const offset = reader.u64();
    const count = reader.u32();
    const { node } = fid;
    if (node.kind !== 'directory' || fid.flags === undefined) {
      throw new ShareError(node.kind === 'directory' ? 'EBADF' : 'ENOTDIR');
    }
    let { entries } = fid;
    if (offset === 0n || entries === undefined) {
      entries = ['.', '..', ...this.#tree.entries(node)];
      this.#fids.list(fid, entries);
    }
    const countAt = writer.skip(4);
    const end = Math.min(writer.bytes.length, countAt + 4 + count);
    let index = Number(BigInt.asUintN(32, offset));
    for (; index < entries.length; index++) {
      const name = entries[index] ?? '';
      // qid, offset, type, name
      if (writer.at + 13 + 8 + 1 + 2 + name.length > end) {
        if (writer.at === countAt + 4) {
          throw new ShareError('EINVAL');
        }
        break;
      }
      this.#entry(writer, node, name, index + 1);
    }
    writer.patchU32(countAt, writer.at - countAt - 4);
  }

  #entry(writer: MessageWriter, folder: TreeNode, name: string, next: number): void {
    const tree = this.#tree;
    let seen: { node: TreeNode; stats: BigIntStats };
    try {
      const node = name === '..' ? (folder.parent ?? folder) : folder;
      seen = name === '.' || name === '..' ? { node, stats: tree.stat(node) } : tree.look(folder, name);
    } catch (error) {
      if (errnoName(error) !== 'ENOENT' && !(error instanceof ShareError)) {
        throw error;
      }
      // It has gone since the listing began.
      return;
    }
    writer.qid(this.#qid(seen.node, seen.stats));
    writer.u64(BigInt(next));
    // As d_type: the upper four bits of the type in the mode.
    writer.u8((Number(seen.stats.mode) & MODE_TYPE) >> 12);
    writer.string(name);
  }

  #mkdir(reader: MessageReader, writer: MessageWriter): void {
    const { node } = this.#fids.get(reader.u32());
    const name = reader.string();
    const made = this.#tree.makeFolder(node, name, reader.u32() & (PERMISSIONS | STICKY));
    writer.qid(this.#qid(made.node, made.stats));
  }

  #symlink(reader: MessageReader, writer: MessageWriter): void {
    const { node } = this.#fids.get(reader.u32());
    const name = reader.string();
    const contents = reader.string();
    if (contents === '' || contents.length >= MAX_LINK_BYTES || contents.includes('\0')) {
      throw new ShareError(contents.length >= MAX_LINK_BYTES ? 'ENAMETOOLONG' : 'EINVAL');
    }
    const made = this.#tree.makeLink(node, name, contents);
    writer.qid(this.#qid(made.node, made.stats));
  }

  /** Only a plain file can be made this way. */
  #mknod(reader: MessageReader, writer: MessageWriter): void {
    const { node: folder } = this.#fids.get(reader.u32());
    const name = reader.string();
    const mode = reader.u32();
    if ((mode & MODE_TYPE) !== MODE_FILE && (mode & MODE_TYPE) !== 0) {
      throw new ShareError('EPERM');
    }
    const tree = this.#tree;
    const { node, descriptor } = tree.create(folder, name, hostFlags(OPEN.writeOnly), mode & PERMISSIONS, true);
    try {
      writer.qid(this.#qid(node, tree.stat(node)));
    } finally {
      tree.close(node, descriptor);
      tree.letGo(node);
    }
  }

  #link(reader: MessageReader): void {
    const { node: folder } = this.#fids.get(reader.u32());
    const { node } = this.#fids.get(reader.u32());
    this.#tree.addName(node, folder, reader.string());
  }

  #rename(reader: MessageReader): void {
    const { node } = this.#fids.get(reader.u32());
    const { node: to } = this.#fids.get(reader.u32());
    const { parent } = node;
    if (parent === undefined || node.removed) {
      throw new ShareError(parent === undefined ? 'EBUSY' : 'ENOENT');
    }
    this.#tree.rename(parent, node.name, to, reader.string());
  }

  #renameAt(reader: MessageReader): void {
    const { node: from } = this.#fids.get(reader.u32());
    const oldName = reader.string();
    const { node: to } = this.#fids.get(reader.u32());
    this.#tree.rename(from, oldName, to, reader.string());
  }

  #unlinkAt(reader: MessageReader): void {
    const { node } = this.#fids.get(reader.u32());
    const name = reader.string();
    this.#tree.remove(node, name, (reader.u32() & AT_REMOVEDIR) !== 0);
  }

  /** Removes the object and, in any case, the fid (remove(5)). */
  #removeFid(reader: MessageReader): void {
    const number = reader.u32();
    try {
      const { node } = this.#fids.get(number);
      if (this.#readOnly) {
        throw new ShareError('EROFS');
      }
      if (node.parent === undefined || node.removed) {
        throw new ShareError(node.removed ? 'ENOENT' : 'EBUSY');
      }
      this.#tree.remove(node.parent, node.name, node.kind === 'directory');
    } finally {
      this.#fids.remove(number);
    }
  }
}
