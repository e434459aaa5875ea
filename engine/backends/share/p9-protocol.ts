/**
 * Messages of 9P2000.L: the numbers of requests; an answer's is one more. 9P2000 defines the old ones
 * (Plan 9 manual, section 5), the protocol description of diod and Linux's include/net/9p/9p.h those of ".L".
 */
export const P9 = {
  lerror: 6,
  statfs: 8,
  lopen: 12,
  lcreate: 14,
  symlink: 16,
  mknod: 18,
  rename: 20,
  readlink: 22,
  getattr: 24,
  setattr: 26,
  xattrwalk: 30,
  xattrcreate: 32,
  readdir: 40,
  fsync: 50,
  lock: 52,
  getlock: 54,
  link: 70,
  mkdir: 72,
  renameat: 74,
  unlinkat: 76,
  version: 100,
  auth: 102,
  attach: 104,
  flush: 108,
  walk: 110,
  read: 116,
  write: 118,
  clunk: 120,
  remove: 122,
} as const;

/** Size, type and tag: little endian, as everything. */
export const HEADER_BYTES = 7;
/** Size, type, tag and error number. */
export const ERROR_BYTES = 11;
/** An answer to Tread or Treaddir before its data, and where its request has the wanted length. */
export const READ_REPLY_HEADER_BYTES = 11;
export const READ_COUNT_OFFSET = 19;
/** A request to write before its data. */
export const WRITE_HEADER_BYTES = 23;
export const NO_FID = 0xffffffff;
export const MAX_WALK_NAMES = 16;
export const MIN_MESSAGE_BYTES = 4096;

export const QID_DIRECTORY = 0x80;
export const QID_LINK = 0x02;

/** Flags of Tlopen and Tlcreate, which are Linux's open flags on x86. */
export const OPEN = {
  accessMode: 3,
  readOnly: 0,
  writeOnly: 1,
  readWrite: 2,
  create: 0o100,
  exclusive: 0o200,
  truncate: 0o1000,
  append: 0o2000,
  dataSync: 0o10000,
  directory: 0o200000,
  sync: 0o4000000,
} as const;

/** What Tsetattr changes. */
export const SET = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  accessTime: 0x10,
  modifyTime: 0x20,
  accessTimeGiven: 0x80,
  modifyTimeGiven: 0x100,
} as const;

/** Every field up to the blocks: what Rgetattr tells. */
export const GETATTR_BASIC = 0x7ffn;
/** Tunlinkat: a folder is meant. */
export const AT_REMOVEDIR = 0x200;
/** "V9FS", as Linux's statfs knows it. */
export const FILE_SYSTEM_MAGIC = 0x01021997;

export const LOCK_SUCCESS = 0;
export const LOCK_TYPE_UNLOCK = 2;

/** Types of files in st_mode. */
export const MODE_TYPE = 0o170000;
export const MODE_FILE = 0o100000;
export const MODE_SET_ID = 0o6000;
