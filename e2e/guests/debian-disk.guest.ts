import { test } from 'node:test';
import { debianDisk } from './debian-disk.ts';
import { DEBIAN_SECONDS, debianSession, withDebianDisk } from './debian-session.ts';
import type { GuestRun } from './guest-run.ts';
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

test("the same Debian on a SCSI disk: GRUB from the firmware, then the root file system by Debian's driver", async (t) => {
  const image = needs(t, debianDisk);
  if (image === undefined) {
    return;
  }
  await withDebianDisk(image, async (disk) => {
    const use = async (guest: GuestRun): Promise<void> => {
      guest.send('findmnt -no SOURCE /; grep -o "^virtio_[bs][a-z]*" /proc/modules\n');
      // The shell's terminal codes come in front of the first line.
      await guest.waitFor(/[\r\n]\/dev\/sda1\r?\n/, DEBIAN_SECONDS);
      await guest.waitFor(/\nvirtio_scsi\r?\n/, DEBIAN_SECONDS);
      guest.send('dd if=/dev/urandom of=/root/data bs=1M count=8 conv=fsync && fstrim -v /\n');
      await guest.waitFor(/trimmed/, DEBIAN_SECONDS);
    };
    await debianSession(disk, use, 'scsi');
  });
});
