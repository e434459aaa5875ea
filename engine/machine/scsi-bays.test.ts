import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockBackend } from '../backends/block/block-backend.ts';
import { ManualClock } from '../clock/alarm-queue.ts';
import { ScsiCdrom } from '../virtio/scsi/scsi-cdrom.ts';
import { ScsiDisk } from '../virtio/scsi/scsi-disk.ts';
import { VirtioScsi } from '../virtio/scsi/virtio-scsi.ts';
import { ScsiBays } from './scsi-bays.ts';

function disk() {
  const image = { size: 4096, readOnly: false, disposed: false, submit() {}, dispose: () => void 0 };
  image.dispose = () => {
    image.disposed = true;
  };
  return image satisfies BlockBackend;
}

test('disks come into the first free place and go, and their images are closed', () => {
  const controller = new VirtioScsi(new ManualClock(), { queues: 1 });
  const first = disk();
  controller.plug(0, 0, new ScsiDisk(first, 'a'));
  controller.plug(1, 0, new ScsiCdrom(undefined, 'b'));
  const bays = new ScsiBays(controller, new Map([[0, first]]));
  const second = disk();
  assert.equal(
    bays.attach(() => second, undefined),
    2,
  );
  assert.ok(controller.unit(2, 0) instanceof ScsiDisk);
  bays.detach(0);
  assert.equal(controller.unit(0, 0), undefined);
  assert.equal(first.disposed, true);
  assert.throws(() => bays.detach(0), { name: 'HostError', code: 'no-scsi-disk' });
  assert.throws(() => bays.detach(1), { code: 'no-scsi-disk' }, 'a CD-ROM drive is no disk');
  assert.equal(bays.attach(disk, 'again'), 0);
  assert.equal(second.disposed, false);
  bays.dispose();
  assert.equal(second.disposed, true);
});

test('without room, without a controller and without an image nothing changes', () => {
  const controller = new VirtioScsi(new ManualClock(), { queues: 1 });
  const bays = new ScsiBays(controller, new Map());
  const fail = () => {
    throw new Error('no such file');
  };
  assert.throws(() => bays.attach(fail, undefined), /no such file/);
  assert.equal(controller.unit(0, 0), undefined);
  for (let i = 0; i < 32; i++) {
    bays.attach(disk, undefined);
  }
  assert.throws(() => bays.attach(fail, undefined), { name: 'HostError', code: 'scsi-full' });
  const none = new ScsiBays(undefined, new Map());
  assert.throws(() => none.attach(fail, undefined), { name: 'HostError', code: 'no-scsi' });
});
