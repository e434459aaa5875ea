import type { BlockBackend } from '../backends/block/block-backend.ts';
import type { Disposable } from '../base/disposable.ts';
import { HostError } from '../base/host-error.ts';
import { SCSI_TARGETS } from '../config/machine-config.ts';
import { ScsiDisk } from '../virtio/scsi/scsi-disk.ts';
import type { VirtioScsi } from '../virtio/scsi/virtio-scsi.ts';

/** The places on a machine's SCSI controller, where disks come and go while it runs. */
export class ScsiBays implements Disposable {
  readonly #controller: VirtioScsi | undefined;
  /** The disks' images, by target. */
  readonly #disks: Map<number, BlockBackend>;

  /** `disks`: those that are there from the start, by target; they become this object's. */
  constructor(controller: VirtioScsi | undefined, disks: ReadonlyMap<number, BlockBackend>) {
    this.#controller = controller;
    this.#disks = new Map(disks);
  }

  #required(): VirtioScsi {
    if (this.#controller === undefined) {
      throw new HostError('no-scsi', 'the machine has no SCSI controller', {
        remedy: 'switch the machine off and give it a disk or a CD-ROM drive on the bus scsi',
      });
    }
    return this.#controller;
  }

  /**
   * Puts a disk into the first free place, which it returns; a guest that has a driver sees the disk at once. Throws
   * HostError when there is no place, or what `open` throws.
   */
  attach(open: () => BlockBackend, serial: string | undefined): number {
    const controller = this.#required();
    let target = 0;
    while (controller.unit(target, 0) !== undefined) {
      target++;
    }
    if (target >= SCSI_TARGETS) {
      throw new HostError('scsi-full', `all ${SCSI_TARGETS} places on the SCSI controller are taken`, {
        remedy: 'take a disk away first',
      });
    }
    const backend = open();
    controller.plug(target, 0, new ScsiDisk(backend, serial ?? `lodge-scsi-${target}`));
    this.#disks.set(target, backend);
    return target;
  }

  /** Takes a disk away, as if it were pulled out: what the guest has not flushed may be lost. Throws HostError. */
  detach(target: number): void {
    const controller = this.#required();
    const backend = this.#disks.get(target);
    if (backend === undefined) {
      throw new HostError('no-scsi-disk', `there is no SCSI disk in place ${target}`, {
        remedy: 'give the number that attaching it gave',
        details: { target },
      });
    }
    controller.unplug(target, 0);
    this.#disks.delete(target);
    backend.dispose();
  }

  dispose(): void {
    for (const backend of this.#disks.values()) {
      backend.dispose();
    }
    this.#disks.clear();
  }
}
