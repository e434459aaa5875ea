import { BOARDS, type BoardKind, type MachineConfigInput, type OptionNames, usageError } from './machine-config.ts';

/** The kind of machine that was asked for. Throws HostError('usage'). */
export function boardOf(board: string | undefined, names: OptionNames): BoardKind {
  const known = BOARDS.find((kind) => kind === (board ?? 'pc'));
  if (known === undefined) {
    throw usageError(
      `${names.machine} ${board ?? ''}: there is no such kind of machine`,
      `give ${BOARDS.join(' or ')}`,
    );
  }
  return known;
}

/**
 * What a board decides about the rest of a configuration: a microVM has neither PCI nor the PC's old devices, so that its
 * devices are virtio ones unless said otherwise, which is then refused. Throws HostError('usage').
 */
export function fitToBoard(input: MachineConfigInput, board: BoardKind, names: OptionNames): MachineConfigInput {
  if (board === 'pc') {
    return input;
  }
  const refuse = (option: string, remedy: string): never => {
    throw usageError(`${option}: a microVM has no such thing`, `${remedy}, or give ${names.machine} pc`);
  };
  if (input.boot?.kernel === undefined) {
    throw usageError(`${names.machine} microvm: has no firmware that could start anything`, `add ${names.kernel} FILE`);
  }
  const ide = input.disks?.find(({ bus }) => bus === 'ide');
  if (ide !== undefined) {
    refuse(`${names.disk} ${ide.path},bus=ide`, 'give bus=virtio or bus=scsi');
  }
  if (input.cdrom?.bus === 'ide') {
    refuse(`${names.cdrom} ${input.cdrom.path ?? ''},bus=ide`, 'give bus=scsi');
  }
  if (input.network?.model !== undefined && input.network.model !== 'virtio') {
    refuse(`${names.network} model=${input.network.model}`, 'give model=virtio');
  }
  const unknown = [
    [names.floppy, input.floppy !== undefined],
    [names.bios, input.firmware?.bios !== undefined],
    [names.boot, input.boot.order !== undefined],
    [names.vga, input.vga !== undefined],
    [names.heads, input.heads !== undefined],
    [names.screenshot, (input.screenshots ?? []).length > 0],
    [names.type, (input.typed ?? []).length > 0],
  ] as const;
  for (const [option, given] of unknown) {
    if (given) {
      refuse(option, `leave out ${option}`);
    }
  }
  return {
    ...input,
    disks: input.disks?.map((disk) => ({ ...disk, bus: disk.bus ?? 'virtio' })),
    cdrom: input.cdrom && { ...input.cdrom, bus: input.cdrom.bus ?? 'scsi' },
    network: input.network && { ...input.network, model: input.network.model ?? 'virtio' },
  };
}
