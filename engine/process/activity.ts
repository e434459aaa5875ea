import type { BlockBackend } from '../backends/block/block-backend.ts';
import type { MachineStatus } from './machine-messages.ts';

export type Activity = MachineStatus['activity']['disk'];
type Light = keyof MachineStatus['activity'];

/** The lights of a machine's drives: each shows what was done since it was last looked at. */
export class ActivityLights {
  readonly #seen = new Map<Light, Activity>();

  /** A backend whose requests light `light`. */
  watch(light: Light, backend: BlockBackend): BlockBackend {
    this.equip(light);
    return {
      size: backend.size,
      readOnly: backend.readOnly,
      submit: (request, done) => {
        this.see(light, request.kind === 'read' ? 'read' : 'write');
        backend.submit(request, done);
      },
      dispose: () => backend.dispose(),
    };
  }

  /** Something was read or written; of both in one look, writing shows. */
  see(light: Light, what: 'read' | 'write'): void {
    if (what === 'write' || this.#seen.get(light) !== 'write') {
      this.#seen.set(light, what);
    }
  }

  /** The machine has such a drive, even when it is empty. */
  equip(light: Light): void {
    if (!this.#seen.has(light)) {
      this.#seen.set(light, 'idle');
    }
  }

  /** What each light shows; they go out with it. */
  take(): MachineStatus['activity'] {
    const look = (light: Light): Activity => {
      const seen = this.#seen.get(light) ?? 'none';
      if (seen !== 'none') {
        this.#seen.set(light, 'idle');
      }
      return seen;
    };
    return { disk: look('disk'), cdrom: look('cdrom'), floppy: look('floppy'), network: look('network') };
  }
}
