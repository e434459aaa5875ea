import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { isAbsolute, relative, resolve, sep } from 'node:path';
import type { BootFile, BootFolder } from '../../net/host-sockets.ts';

/** Files of a folder of the host, for reading. Links may lead anywhere inside it, and nowhere else. */
export function hostBootFolder(folder: string): BootFolder {
  return {
    async open(path): Promise<BootFile | undefined> {
      if (path.includes('\0')) {
        return undefined;
      }
      try {
        const root = await realpath(folder);
        // Leading slashes mean the folder itself.
        const target = await realpath(resolve(root, path.replace(/^[/\\]+/, '')));
        const inside = relative(root, target);
        if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
          return undefined;
        }
        // A pipe would block, a link put there meanwhile would lead elsewhere.
        const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);
        const file = await open(target, flags);
        const facts = await file.stat();
        if (!facts.isFile()) {
          await file.close();
          return undefined;
        }
        let isOpen = true;
        return {
          sizeBytes: facts.size,
          async read(offset, length) {
            const bytes = new Uint8Array(length);
            const { bytesRead } = await file.read(bytes, 0, length, offset);
            return bytes.subarray(0, bytesRead);
          },
          close() {
            if (isOpen) {
              isOpen = false;
              file.close().catch(() => {});
            }
          },
        };
      } catch {
        return undefined; // not there, or not to be read
      }
    },
  };
}
