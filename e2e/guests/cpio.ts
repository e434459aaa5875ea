/** Writer of cpio archives in the "newc" format, which Linux unpacks into its first root file system (initramfs). */

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

/** One entry; `path` is without a leading slash. Everything belongs to root. */
export type CpioEntry = { readonly path: string; readonly mode: number } & (
  | { readonly kind: 'folder' }
  | { readonly kind: 'file'; readonly data: Uint8Array }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'character'; readonly major: number; readonly minor: number }
);

const kinds = { folder: S_IFDIR, file: S_IFREG, link: S_IFLNK, character: S_IFCHR };

function padTo4(length: number): Buffer {
  return Buffer.alloc(-length & 3);
}

function record(inode: number, mode: number, path: string, data: Uint8Array, major: number, minor: number): Buffer {
  const name = Buffer.from(`${path}\0`);
  // c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, c_devmajor, c_devminor, c_rdevmajor, c_rdevminor,
  // c_namesize, c_check
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return Buffer.concat([header, name, padTo4(header.length + name.length), data, padTo4(data.length)]);
}

/** The archive of `entries`, in their order. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const none = new Uint8Array();
  const records = entries.map((entry, index) => {
    const data = entry.kind === 'file' ? entry.data : entry.kind === 'link' ? Buffer.from(entry.target) : none;
    const [major, minor] = entry.kind === 'character' ? [entry.major, entry.minor] : [0, 0];
    return record(index + 1, kinds[entry.kind] | entry.mode, entry.path, data, major, minor);
  });
  return Buffer.concat([...records, record(0, 0, 'TRAILER!!!', none, 0, 0)]);
}
