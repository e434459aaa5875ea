import { constants } from 'node:fs';
import type { HostTree, TreeNode } from './host-tree.ts';
import { ShareError } from './linux-errno.ts';
import { OPEN } from './p9-protocol.ts';
import { MAX_FIDS, type SavedFid } from './share-backend.ts';

/** Names of folders that are being listed, over all fids. */
const MAX_LISTED = 2_000_000;

/** What a number that the guest chose stands for. Nothing but data: it goes from thread to thread. */
export class Fid {
  /** Undefined: it was not found again after its machine was loaded; `saved` says what it was. */
  readonly node: TreeNode | undefined;
  readonly saved: SavedFid | undefined;
  /** Flags of Tlopen; undefined: not open. */
  flags: number | undefined;
  /** The host's descriptor of an open file. */
  descriptor: number | undefined;
  /** Names in an open folder, as they were when its listing began. */
  entries: readonly string[] | undefined;

  constructor(node: TreeNode | undefined, saved?: SavedFid) {
    this.node = node;
    this.saved = saved;
    this.flags = saved?.flags ?? undefined;
  }
}

/** The host's flags for opening an existing file as a guest wants it, without what creates or truncates. */
export function hostFlags(flags: number): number {
  const access = [constants.O_RDONLY, constants.O_WRONLY, constants.O_RDWR][flags & OPEN.accessMode];
  if (access === undefined) {
    throw new ShareError('EINVAL');
  }
  const has = (flag: number, host: number | undefined) => ((flags & flag) !== 0 ? (host ?? 0) : 0);
  return (
    access |
    has(OPEN.append, constants.O_APPEND) |
    // O_SYNC is two bits, one of them O_DSYNC.
    has(OPEN.sync, constants.O_SYNC) |
    has(OPEN.dataSync, constants.O_DSYNC)
  );
}

/** The fids of one session. */
export class FidTable {
  readonly #tree: HostTree;
  readonly #fids: Map<number, Fid>;
  #listed = 0;

  /** `fids`: what another table has given away. */
  constructor(tree: HostTree, fids: ReadonlyMap<number, Fid> = new Map()) {
    this.#tree = tree;
    this.#fids = new Map(fids);
    for (const { entries } of fids.values()) {
      this.#listed += entries?.length ?? 0;
    }
  }

  /** What another table is to go on with; this one has nothing any more. */
  giveAway(): ReadonlyMap<number, Fid> {
    const fids = new Map(this.#fids);
    this.#fids.clear();
    this.#listed = 0;
    return fids;
  }

  get size(): number {
    return this.#fids.size;
  }

  /** Throws ShareError('EBADF'); for one that was not found again, ESTALE. */
  get(number: number): Fid & { readonly node: TreeNode } {
    const fid = this.#fids.get(number);
    if (fid === undefined) {
      throw new ShareError('EBADF');
    }
    if (fid.node === undefined) {
      throw new ShareError('ESTALE');
    }
    return fid as Fid & { readonly node: TreeNode };
  }

  /** Throws when the guest uses this number already, or has too many. */
  checkFree(number: number): void {
    if (this.#fids.has(number)) {
      throw new ShareError('EBADF');
    }
    if (this.#fids.size >= MAX_FIDS) {
      throw new ShareError('EMFILE');
    }
  }

  /** Holds `node` under this number, which is free or whose fid is to be replaced. */
  set(number: number, node: TreeNode): Fid {
    const fid = new Fid(node);
    this.#tree.hold(node);
    this.#drop(this.#fids.get(number));
    this.#fids.set(number, fid);
    return fid;
  }

  remove(number: number): void {
    const fid = this.#fids.get(number);
    if (fid === undefined) {
      throw new ShareError('EBADF');
    }
    this.#fids.delete(number);
    this.#drop(fid);
  }

  #drop(fid: Fid | undefined): void {
    if (fid?.node === undefined) {
      return;
    }
    this.list(fid, undefined);
    try {
      if (fid.descriptor !== undefined) {
        this.#tree.close(fid.node, fid.descriptor);
      }
    } finally {
      this.#tree.letGo(fid.node);
    }
  }

  /** Keeps the names of a folder with its fid, or lets them go. */
  list(fid: Fid, entries: readonly string[] | undefined): void {
    const listed = this.#listed - (fid.entries?.length ?? 0) + (entries?.length ?? 0);
    if (listed > MAX_LISTED) {
      throw new ShareError('ENOMEM');
    }
    this.#listed = listed;
    fid.entries = entries;
  }

  clear(): void {
    for (const fid of this.#fids.values()) {
      try {
        this.#drop(fid);
      } catch {
        // A file that cannot be closed properly: what was to be said of it, fsync has said.
      }
    }
    this.#fids.clear();
  }

  save(): SavedFid[] {
    return [...this.#fids].map(([fid, { node, saved, flags }]) =>
      node === undefined && saved !== undefined ? saved : this.#savedFid(fid, node as TreeNode, flags),
    );
  }

  #savedFid(fid: number, node: TreeNode, flags: number | undefined): SavedFid {
    let removed = false;
    for (let at: TreeNode | undefined = node; at !== undefined; at = at.parent) {
      removed ||= at.removed;
    }
    const { inode, kind } = node;
    return { fid, path: this.#tree.pathNames(node), inode, kind, flags: flags ?? null, removed };
  }

  load(saved: readonly SavedFid[]): void {
    this.clear();
    for (const entry of saved) {
      this.#fids.set(entry.fid, this.#find(entry) ?? new Fid(undefined, entry));
    }
  }

  /** The object at the path of a saved fid, if it is the same as then; opened again if it was open. */
  #find(saved: SavedFid): Fid | undefined {
    if (saved.removed) {
      return undefined;
    }
    const tree = this.#tree;
    let at = tree.root;
    tree.hold(at);
    try {
      for (const name of saved.path) {
        const { node } = tree.look(at, name);
        tree.hold(node);
        tree.letGo(at);
        at = node;
      }
      if (at.inode !== saved.inode || at.kind !== saved.kind) {
        throw new ShareError('ESTALE');
      }
      const fid = new Fid(at);
      if (saved.flags !== null) {
        fid.flags = saved.flags;
        fid.descriptor = at.kind === 'file' ? tree.open(at, hostFlags(saved.flags)) : undefined;
      }
      return fid;
    } catch {
      tree.letGo(at);
      // Whatever the reason: the guest gets an error when it uses the fid.
      return undefined;
    }
  }
}
