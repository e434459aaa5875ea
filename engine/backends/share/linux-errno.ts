import { errorCode } from '../block/host-error-code.ts';

/** Error numbers of Linux, which 9P2000.L speaks whatever the host is (include/uapi/asm-generic/errno*.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  EPROTO: 71,
  EOVERFLOW: 75,
  EILSEQ: 84,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  EHOSTDOWN: 112,
  ESTALE: 116,
  EDQUOT: 122,
} as const;
export type ErrnoName = keyof typeof ERRNO;

/** The same errors by the other names that Node has for them. */
const OTHER_NAMES = new Map<string, ErrnoName>(
  Object.entries({
    ENOTSUP: 'EOPNOTSUPP',
    ENOSYS: 'EOPNOTSUPP',
    ECHARSET: 'EILSEQ',
    EFTYPE: 'EINVAL',
    ENOATTR: 'EOPNOTSUPP',
    ERR_INVALID_ARG_VALUE: 'EINVAL',
    ERR_INVALID_ARG_TYPE: 'EINVAL',
    ERR_OUT_OF_RANGE: 'EINVAL',
    ERR_FS_FILE_TOO_LARGE: 'EFBIG',
  } as const),
);

/** A message of 9P that is answered with this error. */
export class ShareError extends Error {
  override readonly name = 'ShareError';
  readonly code: ErrnoName;

  constructor(code: ErrnoName) {
    super(code);
    this.code = code;
  }
}

/** Whether `error` is a failure that a guest may hear of: one of ours, or one of Node's file functions. */
export function isFileError(error: unknown): error is Error {
  return (
    error instanceof ShareError || (error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string')
  );
}

/**
 * The Linux error of a failure of a file function. Node gives names that mean the same on every host, so names are
 * translated and the host's numbers never looked at. What has no Linux name is EIO.
 */
export function errnoName(error: unknown): ErrnoName {
  const code = errorCode(error);
  return OTHER_NAMES.get(code) ?? (Object.hasOwn(ERRNO, code) ? (code as ErrnoName) : 'EIO');
}
