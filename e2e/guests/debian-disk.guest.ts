import { test } from 'node:test';
import { debianDisk } from './debian-disk.ts';
import { DEBIAN_SECONDS, debianSession, withDebianDisk } from './debian-session.ts';
import { needs } from './needs.ts';

test('a Debian on an IDE disk boots to a login, keeps a file over a shutdown, and leaves a clean file system', async (t) => {
  const image = needs(t, debianDisk);
  if (image === undefined) {
    return;
  }
  await withDebianDisk(image, async (disk) => {
    for (const command of ['echo "kept-$((40 + 2))" > /root/kept; cat /root/kept', 'cat /root/kept']) {
      await debianSession(disk, async (guest) => {
        guest.send(`${command}\n`);
        await guest.waitFor(/kept-42\r?\n/, DEBIAN_SECONDS);
      });
    }
  });
});
