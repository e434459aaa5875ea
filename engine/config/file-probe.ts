/** What can be known of a path without changing anything. */
export interface FileFacts {
  /** 'other' are pipes, sockets and terminals, which cannot hold an image. 'error': the path cannot be looked at. */
  readonly kind: 'file' | 'directory' | 'block-device' | 'other' | 'missing' | 'error';
  /** Bytes of a file. */
  readonly sizeBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Equal for two paths of one file, by whatever names; '' when nothing is there. */
  readonly identity: string;
  /** For 'error': why, in a few words. */
  readonly reason?: string;
}

/** Looks at the host's files for the validation of a configuration. */
export interface FileProbe {
  inspect(path: string): FileFacts;
  /** The folder that holds, or would hold, `path`. */
  inspectFolderOf(path: string): FileFacts;
  /** `path` without relative parts, to tell whether two paths that do not exist yet are the same. */
  resolve(path: string): string;
}
