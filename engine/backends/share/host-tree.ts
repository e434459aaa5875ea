import {
  accessSync,
  type BigIntStats,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  opendirSync,
  openSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  type StatsFsBase,
  statfsSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
} from 'node:fs';
import { defined } from '../../base/assert.ts';
import { checkName, hostBytes, hostPath } from './host-names.ts';
import { errnoName, ShareError } from './linux-errno.ts';
import { MAX_DEPTH, type NodeKind } from './share-backend.ts';

/** Linux's O_PATH: a handle for an object that opens nothing. Node passes flags on as they are. */
const O_PATH = 0o10000000;
/** Windows has neither; there links are found by looking. */
const O_NOFOLLOW = constants.O_NOFOLLOW ?? 0;
const O_NONBLOCK = constants.O_NONBLOCK ?? 0;
const O_DIRECTORY = constants.O_DIRECTORY ?? 0;
/** Handles of folders that are kept open; others are opened again when they are needed. */
const MAX_FOLDER_HANDLES = 1024;
/** So many are kept when the host has no more handles. More than MAX_DEPTH: an operation never loses its own. */
const FEW_FOLDER_HANDLES = MAX_DEPTH + 16;
/** Names in one folder that a guest can list. */
const MAX_ENTRIES = 1_000_000;
/** A folder's handle is good for so long; then its name must still lead to it. Milliseconds. */
const HANDLE_MILLIS = 1000;
/** A name that appears and vanishes while a file is created under it. */
const CREATE_TRIES = 8;

/** A place in the shared folder that somebody holds, and the object that was found there. Nothing but data: it goes from thread to thread. */
export class TreeNode {
  parent: TreeNode | undefined;
  /** One character a byte; empty for the shared folder itself. */
  name: string;
  readonly device: bigint;
  readonly inode: bigint;
  readonly kind: NodeKind;
  /** Held places in it, by their names. */
  readonly children = new Map<string, TreeNode>();
  /** Its path names it no more. */
  removed = false;
  /** Fids, and children, that hold it. */
  holders = 0;
  /** Descriptors of the file that are open. */
  readonly open = new Set<number>();

  constructor(parent: TreeNode | undefined, name: string, stats: BigIntStats) {
    this.parent = parent;
    this.name = name;
    this.device = stats.dev;
    this.inode = stats.ino;
    this.kind = kindOf(stats);
  }
}

function isIt(node: TreeNode, stats: BigIntStats): boolean {
  return stats.ino === node.inode && stats.dev === node.device && kindOf(stats) === node.kind;
}

function depthOf(node: TreeNode): number {
  let depth = 0;
  for (let { parent } = node; parent !== undefined; parent = parent.parent) {
    depth++;
  }
  return depth;
}

/** All that a tree holds; handles and descriptors are the process's. */
export interface TreeState {
  readonly root: TreeNode;
  readonly handles: ReadonlyMap<TreeNode, number>;
}

/** An object as a look at it found it. */
export interface SeenNode {
  readonly node: TreeNode;
  readonly stats: BigIntStats;
}

export interface OpenedNode {
  readonly node: TreeNode;
  readonly descriptor: number;
}

function kindOf(stats: BigIntStats): NodeKind {
  if (stats.isDirectory()) {
    return 'directory';
  }
  if (stats.isFile()) {
    return 'file';
  }
  return stats.isSymbolicLink() ? 'link' : 'special';
}

/**
 * The host's files below one folder, and nothing else.
 *
 * Why nothing outside can be reached: callers name objects by a node and one name in it, and `checkName` lets no name
 * pass that is more than one step downwards (no `/`, no `..`). What is left is to make sure that a step starts in the
 * folder that was meant, and that the last name is not followed when it is a symbolic link.
 *
 * - **Anchored** (Linux): every folder is reached by a handle that was opened with O_PATH | O_NOFOLLOW, step by step from
 *   the shared folder on, so that `/proc/self/fd/N/name` is what `openat(N, name)` would be: the kernel goes straight to
 *   the folder of the handle, wherever that was moved meanwhile, and resolves one name. That name is never followed
 *   either: a file is opened as O_PATH | O_NOFOLLOW first, found to be the same regular file as before, and only this
 *   handle is opened anew (`/proc/self/fd/M`), which no rename can turn into something else. There is no moment at which
 *   somebody who exchanges files for links wins anything, and no pipe or device is ever opened.
 * - **Otherwise**: paths of names. Before each step every folder from the shared one on is looked at (lstat) and must be
 *   the one that was there before, by its number in its file system; a link is not. Opened files are compared with what
 *   was seen. A guest cannot do anything between the look and the step, because its messages are carried out one after
 *   the other; only somebody else on the host, or another guest with the same folder, could, within microseconds.
 *
 * What a symbolic link says is passed on as it is: guests follow links by themselves, in their own file systems.
 */
export class HostTree {
  readonly root: TreeNode;
  readonly #rootPath: string;
  readonly #anchored: boolean;
  /** Handles of folders, the ones used last at the end. */
  readonly #handles = new Map<TreeNode, { readonly handle: number; good: number }>();
  readonly #now: () => number;
  readonly #umask = process.umask();

  /**
   * Throws what Node throws when the folder is not there. `anchored`: as above; by default where there is O_PATH. `state`:
   * what another tree of the same folder has given away.
   */
  constructor(
    rootPath: string,
    anchored = process.platform === 'linux',
    now = () => performance.now(),
    state?: TreeState,
  ) {
    this.#now = now;
    this.#rootPath = rootPath;
    this.#anchored = anchored;
    if (state !== undefined) {
      this.root = state.root;
      for (const [node, handle] of state.handles) {
        this.#handles.set(node, { handle, good: 0 });
      }
      return;
    }
    if (anchored) {
      const handle = openSync(rootPath, O_PATH | O_DIRECTORY);
      this.root = new TreeNode(undefined, '', fstatSync(handle, { bigint: true }));
      this.#handles.set(this.root, { handle, good: 0 });
    } else {
      // Through links on the way to the folder, which are the user's, but not later.
      const stats = lstatSync(`${rootPath}/.`, { bigint: true });
      this.root = new TreeNode(undefined, '', stats);
    }
    if (this.root.kind !== 'directory') {
      throw new ShareError('ENOTDIR');
    }
    this.root.holders = 1;
  }

  /** The shared folder is where it was. */
  get rootIsThere(): boolean {
    try {
      return isIt(this.root, lstatSync(`${this.#rootPath}/.`, { bigint: true }));
    } catch {
      return false;
    }
  }

  /** A path by which file functions reach exactly this folder. */
  #folder(node: TreeNode): string {
    if (node.kind !== 'directory') {
      throw new ShareError('ENOTDIR');
    }
    return this.#anchored ? `/proc/self/fd/${this.#handle(node)}` : this.#checkedPath(node);
  }

  #handle(node: TreeNode): number {
    const known = this.#handles.get(node);
    if (known !== undefined) {
      // First of all the one used last, so that it stays open.
      this.#handles.delete(node);
      this.#handles.set(node, known);
      const now = this.#now();
      // A folder that somebody on the host has moved away is not shared any more.
      if (now >= known.good && !node.removed) {
        this.#check(node);
        known.good = now + HANDLE_MILLIS;
      }
      return known.handle;
    }
    const { parent } = node;
    if (node.removed || parent === undefined) {
      throw new ShareError('ENOENT');
    }
    const path = hostPath(`/proc/self/fd/${this.#handle(parent)}`, node.name);
    const handle = this.#retrying(() => openSync(path, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    if (!isIt(node, fstatSync(handle, { bigint: true }))) {
      closeSync(handle);
      throw new ShareError('ENOENT');
    }
    this.#handles.set(node, { handle, good: this.#now() + HANDLE_MILLIS });
    if (this.#handles.size > MAX_FOLDER_HANDLES) {
      this.#closeHandles(MAX_FOLDER_HANDLES / 2);
    }
    return handle;
  }

  /** Throws unless the name of `node` still leads to it. */
  #check(node: TreeNode): void {
    const { parent } = node;
    const path =
      parent === undefined ? `${this.#rootPath}/.` : hostPath(`/proc/self/fd/${this.#handle(parent)}`, node.name);
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (stats === undefined || !isIt(node, stats)) {
      throw new ShareError('ENOENT');
    }
  }

  /** Opens something; when the host has no more handles, once more with fewer of ours. */
  #retrying(open: () => number): number {
    try {
      return open();
    } catch (error) {
      const name = errnoName(error);
      if ((name !== 'EMFILE' && name !== 'ENFILE') || this.#handles.size <= FEW_FOLDER_HANDLES) {
        throw error;
      }
      this.#closeHandles(FEW_FOLDER_HANDLES);
      return open();
    }
  }

  /** Closes handles that were not used for the longest time, until so many are left. The root's stays. */
  #closeHandles(leave: number): void {
    for (const [node, { handle }] of this.#handles) {
      if (this.#handles.size <= leave) {
        return;
      }
      // Nothing else leads to a folder that was removed.
      if (node !== this.root && !node.removed) {
        this.#handles.delete(node);
        closeSync(handle);
      }
    }
  }

  /** Without anchors: the path of names, with every folder on it found to be the one that it was. */
  #checkedPath(node: TreeNode): string {
    const way: TreeNode[] = [];
    for (let at: TreeNode | undefined = node; at !== undefined; at = at.parent) {
      if (at.removed) {
        throw new ShareError('ENOENT');
      }
      way.unshift(at);
    }
    let path = this.#rootPath;
    for (const at of way) {
      // The end of the first path makes it the folder that a link there leads to.
      const stats = lstatSync(at === this.root ? `${path}/.` : hostPath(path, at.name), {
        bigint: true,
        throwIfNoEntry: false,
      });
      if (stats === undefined || !isIt(at, stats)) {
        throw new ShareError('ENOENT');
      }
      path = at === this.root ? path : String(hostPath(path, at.name));
    }
    return path;
  }

  #path(folder: TreeNode, name: string): string | Buffer {
    return hostPath(this.#folder(folder), name);
  }

  #pathOf(node: TreeNode): string | Buffer {
    if (node.removed) {
      throw new ShareError('ENOENT');
    }
    return this.#path(defined(node.parent, 'the folder of a file'), node.name);
  }

  // Nodes.

  /** What `name` in `folder` is. Throws ShareError('ENOENT'). Not held yet: `hold` it before the next call. */
  look(folder: TreeNode, name: string): SeenNode {
    checkName(name);
    const stats = lstatSync(this.#path(folder, name), { bigint: true, throwIfNoEntry: false });
    const known = folder.children.get(name);
    if (stats === undefined) {
      this.#forget(known);
      throw new ShareError('ENOENT');
    }
    if (known !== undefined && isIt(known, stats)) {
      return { node: known, stats };
    }
    this.#forget(known);
    if (depthOf(folder) >= MAX_DEPTH) {
      throw new ShareError('ENAMETOOLONG');
    }
    return { node: new TreeNode(folder, name, stats), stats };
  }

  hold(node: TreeNode): void {
    node.holders++;
    const { parent } = node;
    if (node.holders === 1 && parent !== undefined) {
      parent.children.set(node.name, node);
      this.hold(parent);
    }
  }

  letGo(node: TreeNode): void {
    let at: TreeNode | undefined = node;
    while (at !== undefined) {
      at.holders--;
      if (at.holders > 0) {
        return;
      }
      const known = this.#handles.get(at);
      if (known !== undefined) {
        this.#handles.delete(at);
        closeSync(known.handle);
      }
      const { parent, name }: TreeNode = at;
      if (parent?.children.get(name) === at) {
        parent.children.delete(name);
      }
      at = parent;
    }
  }

  /** `node` is not what its path names any more. */
  #forget(node: TreeNode | undefined): void {
    if (node !== undefined) {
      node.removed = true;
      node.parent?.children.delete(node.name);
    }
  }

  /** Names from the shared folder to `node`. */
  pathNames(node: TreeNode): string[] {
    const names: string[] = [];
    for (let at = node; at.parent !== undefined; at = at.parent) {
      names.unshift(at.name);
    }
    return names;
  }

  // What can be done with them. All throw ShareError, or what Node throws.

  stat(node: TreeNode): BigIntStats {
    for (const descriptor of node.open) {
      return fstatSync(descriptor, { bigint: true });
    }
    if (node.kind === 'directory' && this.#anchored) {
      return fstatSync(this.#handle(node), { bigint: true });
    }
    if (node === this.root) {
      return lstatSync(`${this.#checkedPath(node)}/.`, { bigint: true });
    }
    const stats = lstatSync(this.#pathOf(node), { bigint: true, throwIfNoEntry: false });
    if (stats === undefined || !isIt(node, stats)) {
      throw new ShareError('ENOENT');
    }
    return stats;
  }

  /** Opens a regular file; `flags` are the host's, without those that create. */
  open(node: TreeNode, flags: number): number {
    if (node.kind !== 'file') {
      throw new ShareError(node.kind === 'directory' ? 'EISDIR' : node.kind === 'link' ? 'ELOOP' : 'EPERM');
    }
    if (!this.#anchored) {
      // So that what has become a pipe or a device is not opened.
      this.stat(node);
    }
    const descriptor = this.#anchored
      ? this.#withHandle(node, (path) => this.#retrying(() => openSync(path, flags)))
      : openSync(this.#pathOf(node), flags | O_NOFOLLOW | O_NONBLOCK);
    if (!this.#anchored && !isIt(node, fstatSync(descriptor, { bigint: true }))) {
      closeSync(descriptor);
      throw new ShareError('ENOENT');
    }
    node.open.add(descriptor);
    return descriptor;
  }

  close(node: TreeNode, descriptor: number): void {
    node.open.delete(descriptor);
    closeSync(descriptor);
  }

  /** Calls `act` with a path that is exactly this object, whatever happens to its name meanwhile. */
  #withHandle<T>(node: TreeNode, act: (path: string) => T): T {
    for (const descriptor of node.open) {
      return act(`/proc/self/fd/${descriptor}`);
    }
    if (node.kind === 'directory') {
      return act(this.#folder(node));
    }
    const path = this.#pathOf(node);
    const handle = this.#retrying(() => openSync(path, O_PATH | O_NOFOLLOW));
    try {
      if (!isIt(node, fstatSync(handle, { bigint: true }))) {
        throw new ShareError('ENOENT');
      }
      return act(`/proc/self/fd/${handle}`);
    } finally {
      closeSync(handle);
    }
  }

  /** As #withHandle: `act` gets a path, or without anchors a descriptor where there can be one. */
  #withObject(node: TreeNode, act: (object: string | Buffer | number) => void): void {
    if (this.#anchored) {
      this.#withHandle(node, act);
      return;
    }
    for (const descriptor of node.open) {
      act(descriptor);
      return;
    }
    if (node.kind !== 'file') {
      act(node.kind === 'directory' ? this.#folder(node) : this.#pathOf(node));
      return;
    }
    const descriptor = this.open(node, constants.O_RDONLY);
    try {
      act(descriptor);
    } finally {
      this.close(node, descriptor);
    }
  }

  /**
   * Opens `name` in `folder`, a new file unless there is one already. `exclusive`: it must be new. The file's mode is as
   * given: the guest has taken its own umask off already. The node is held.
   */
  create(folder: TreeNode, name: string, flags: number, mode: number, exclusive: boolean): OpenedNode {
    checkName(name);
    for (let tries = 0; ; tries++) {
      try {
        const path = this.#path(folder, name);
        const make = flags | constants.O_CREAT | constants.O_EXCL | O_NOFOLLOW;
        const descriptor = this.#retrying(() => openSync(path, make, mode));
        if ((mode & this.#umask) !== 0) {
          fchmodSync(descriptor, mode);
        }
        const stats = fstatSync(descriptor, { bigint: true });
        this.#forget(folder.children.get(name));
        return this.#opened(new TreeNode(folder, name, stats), descriptor);
      } catch (error) {
        if (errnoName(error) !== 'EEXIST' || exclusive) {
          throw error;
        }
      }
      try {
        const { node } = this.look(folder, name);
        return this.#opened(node, this.open(node, flags));
      } catch (error) {
        if (errnoName(error) !== 'ENOENT' || tries >= CREATE_TRIES) {
          throw error;
        }
      }
    }
  }

  #opened(node: TreeNode, descriptor: number): OpenedNode {
    node.open.add(descriptor);
    this.hold(node);
    return { node, descriptor };
  }

  makeFolder(folder: TreeNode, name: string, mode: number): SeenNode {
    checkName(name);
    mkdirSync(this.#path(folder, name), { mode });
    const made = this.look(folder, name);
    if ((mode & this.#umask) !== 0 && made.node.kind === 'directory') {
      this.#setMode(made.node, mode);
      return this.look(folder, name);
    }
    return made;
  }

  makeLink(folder: TreeNode, name: string, contents: string): SeenNode {
    checkName(name);
    symlinkSync(hostBytes(contents), this.#path(folder, name));
    return this.look(folder, name);
  }

  /** A second name for a file. The first is taken by its path, so it is looked at again. */
  addName(node: TreeNode, folder: TreeNode, name: string): void {
    checkName(name);
    if (node.kind === 'directory') {
      throw new ShareError('EPERM');
    }
    this.stat(node);
    const [from, to] = this.#paths(node.parent ?? folder, node.name, folder, name);
    if (node.removed) {
      throw new ShareError('ENOENT');
    }
    linkSync(from, to);
  }

  remove(folder: TreeNode, name: string, isFolder: boolean): void {
    checkName(name);
    const path = this.#path(folder, name);
    const known = folder.children.get(name);
    if (known?.kind === 'directory' && this.#anchored) {
      // So that whoever still holds it can look at it.
      this.#handleIfThere(known);
    }
    if (isFolder) {
      rmdirSync(path);
    } else {
      unlinkSync(path);
    }
    this.#forget(known);
  }

  #handleIfThere(node: TreeNode): void {
    try {
      this.#handle(node);
    } catch {
      // It is another one by now, or none.
    }
  }

  rename(from: TreeNode, oldName: string, to: TreeNode, newName: string): void {
    checkName(oldName);
    checkName(newName);
    const [source, target] = this.#paths(from, oldName, to, newName);
    const moved = from.children.get(oldName);
    if (moved !== undefined && depthOf(to) + this.#height(moved) >= MAX_DEPTH) {
      throw new ShareError('ENAMETOOLONG');
    }
    renameSync(source, target);
    if (from === to && oldName === newName) {
      return;
    }
    const replaced = to.children.get(newName);
    // Two names of one file both stay (rename(2)).
    const same = moved !== undefined && replaced?.inode === moved.inode && replaced.device === moved.device;
    if (same && moved.kind !== 'directory') {
      return;
    }
    this.#forget(replaced);
    if (moved !== undefined) {
      from.children.delete(oldName);
      moved.name = newName;
      to.children.set(newName, moved);
      if (from !== to) {
        moved.parent = to;
        this.hold(to);
        this.letGo(from);
      }
    }
  }

  /** Levels of held places in `node`, with itself. */
  #height(node: TreeNode): number {
    let levels: TreeNode[] = [node];
    let height = 0;
    while (levels.length > 0) {
      height++;
      levels = levels.flatMap(({ children }) => [...children.values()]);
    }
    return height;
  }

  /** Paths in two folders, both good at the same time. */
  #paths(from: TreeNode, oldName: string, to: TreeNode, newName: string): [string | Buffer, string | Buffer] {
    this.#folder(from);
    const target = this.#path(to, newName);
    // The second may have cost the first its handle; this one costs none, as both were used last.
    return [this.#path(from, oldName), target];
  }

  readLink(node: TreeNode): string {
    if (node.kind !== 'link') {
      throw new ShareError('EINVAL');
    }
    return readlinkSync(this.#pathOf(node), { encoding: 'buffer' }).toString('latin1');
  }

  /** Names in a folder, sorted by their bytes. */
  entries(node: TreeNode): string[] {
    const encoding = this.#anchored ? 'latin1' : 'utf8';
    const folder = opendirSync(this.#folder(node), { encoding, bufferSize: 1024 });
    const names: string[] = [];
    try {
      for (let entry = folder.readSync(); entry !== null; entry = folder.readSync()) {
        names.push(encoding === 'latin1' ? entry.name : Buffer.from(entry.name).toString('latin1'));
        if (names.length > MAX_ENTRIES) {
          throw new ShareError('EOVERFLOW');
        }
      }
    } finally {
      folder.closeSync();
    }
    return names.sort();
  }

  /** Throws unless the host's user may do what `mode` says, as in access(2). */
  checkAccess(node: TreeNode, mode: number): void {
    accessSync(this.#folder(node), mode);
  }

  /** Has the names in a folder written to the medium. */
  syncFolder(node: TreeNode): void {
    const descriptor = openSync(this.#folder(node), constants.O_RDONLY | O_DIRECTORY);
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  setMode(node: TreeNode, mode: number): void {
    if (node.kind === 'link') {
      throw new ShareError('EOPNOTSUPP');
    }
    this.#setMode(node, mode);
  }

  #setMode(node: TreeNode, mode: number): void {
    this.#withObject(node, (object) =>
      typeof object === 'number' ? fchmodSync(object, mode) : chmodSync(object, mode),
    );
  }

  setOwner(node: TreeNode, uid: number, gid: number): void {
    if (node.kind === 'link') {
      lchownSync(this.#pathOf(node), uid, gid);
      return;
    }
    this.#withObject(node, (object) =>
      typeof object === 'number' ? fchownSync(object, uid, gid) : chownSync(object, uid, gid),
    );
  }

  /** Seconds since 1970. */
  setTimes(node: TreeNode, accessed: number, modified: number): void {
    if (node.kind === 'link') {
      lutimesSync(this.#pathOf(node), accessed, modified);
      return;
    }
    this.#withObject(node, (object) =>
      typeof object === 'number' ? futimesSync(object, accessed, modified) : utimesSync(object, accessed, modified),
    );
  }

  fileSystem(node: TreeNode): StatsFsBase<bigint> {
    const folder = node.kind === 'directory' ? node : defined(node.parent, 'the folder of a file');
    return statfsSync(this.#folder(folder), { bigint: true });
  }

  /** What another tree is to go on with; this one has nothing any more. */
  giveAway(): TreeState {
    const handles = new Map([...this.#handles].map(([node, { handle }]) => [node, handle]));
    this.#handles.clear();
    return { root: this.root, handles };
  }

  /** Closes the handles of folders; files are closed by whoever opened them. */
  dispose(): void {
    for (const { handle } of this.#handles.values()) {
      closeSync(handle);
    }
    this.#handles.clear();
  }
}
