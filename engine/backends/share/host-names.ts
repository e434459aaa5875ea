import { ShareError } from './linux-errno.ts';
import { isPlainName } from './share-backend.ts';

/**
 * Names of files travel as byte strings, one character a byte: Linux allows any bytes in them. Elsewhere the host's names
 * are text, which guests write in UTF-8.
 */
const ASCII = /^[\0-\x7f]*$/;
/** What Windows takes for something else than a name: streams, wildcards, devices, and ends that it drops. */
const NOT_ON_WINDOWS = /[<>:"\\|?*]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\.|$)/i;

/** Throws ShareError unless `name` is one step downwards in a folder, on this host too. */
export function checkName(name: string, platform: NodeJS.Platform = process.platform): void {
  if (!isPlainName(name)) {
    throw new ShareError(name.length > 255 ? 'ENAMETOOLONG' : 'EINVAL');
  }
  if (platform === 'win32' && NOT_ON_WINDOWS.test(name)) {
    throw new ShareError('EINVAL');
  }
}

/** A path of the host, `folder` and a name in it, for Node's file functions. */
export function hostPath(folder: string, name: string, platform: NodeJS.Platform = process.platform): string | Buffer {
  if (ASCII.test(name)) {
    return `${folder}/${name}`;
  }
  const bytes = Buffer.from(name, 'latin1');
  if (platform === 'linux') {
    return Buffer.concat([Buffer.from(`${folder}/`), bytes]);
  }
  return `${folder}/${textOf(bytes)}`;
}

/** Contents of a symbolic link, for the function that makes one. */
export function hostBytes(text: string, platform: NodeJS.Platform = process.platform): string | Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return platform === 'linux' ? bytes : textOf(bytes);
}

function textOf(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ShareError('EILSEQ');
  }
}
