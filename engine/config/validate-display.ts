import { MAX_HEADS, VGA_KINDS } from './display-config.ts';
import { type MachineConfig, type MachineConfigInput, type OptionNames, usageError } from './machine-config.ts';

/** The display adapter, complete and checked. Throws HostError('usage'). */
export function displayOf(input: MachineConfigInput, names: OptionNames): Pick<MachineConfig, 'vga' | 'heads'> {
  const wanted = input.vga ?? 'std';
  const vga = VGA_KINDS.find((kind) => kind === wanted);
  if (vga === undefined) {
    throw usageError(`${names.vga} ${wanted}: is not known`, `give ${VGA_KINDS.join(' or ')}`);
  }
  const heads = input.heads ?? 1;
  if (!Number.isInteger(heads) || heads < 1 || heads > MAX_HEADS) {
    throw usageError(`${names.heads} ${heads}: is out of range`, `give 1 to ${MAX_HEADS} monitors`);
  }
  if (heads > 1 && vga !== 'virtio') {
    throw usageError(
      `${names.heads} ${heads}: ${names.vga} ${vga} has one monitor`,
      `give ${names.vga} virtio, or ${names.heads} 1`,
    );
  }
  return { vga, heads };
}
