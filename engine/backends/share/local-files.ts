import { statfsSync } from 'node:fs';

/**
 * File systems whose files are on this host, by their numbers on Linux (statfs(2)): their calls may wait for a medium, but
 * never for somebody else's computer or program.
 */
const LOCAL = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0xf2f52010, // F2FS
  0xca451a4e, // bcachefs
  0x2fc12fc1, // ZFS
  0x3153464a, // JFS
  0x52654973, // ReiserFS
  0x4d44, // FAT
  0x2011bab0, // exFAT
  0x7366746e, // NTFS
  0x01021994, // tmpfs
  0x858458f6, // ramfs
  0x794c7630, // overlayfs
]);

/** Whether calls for the files of a folder are answered by this host alone; false where that is not known. */
export function isOnThisHost(path: string): boolean {
  try {
    return process.platform === 'linux' && LOCAL.has(statfsSync(path).type >>> 0);
  } catch {
    // Whoever opens the folder says why.
    return false;
  }
}
