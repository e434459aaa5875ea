import { AppWindow, Compass, FileQuestionMark, HardDrive, Monitor, Server, SquareTerminal } from 'lucide-react';
import type { Machine } from '../../../main/contract/machines.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { guestSystemName } from '../../i18n/host-texts.ts';
import { useText } from '../../i18n/i18n.ts';

const FAMILIES = { linux: SquareTerminal, windows: AppWindow, bsd: Server, dos: HardDrive, other: Monitor };

/** Colours by which well-known systems are known, by the start of their id. */
const TINTS = ['debian', 'ubuntu', 'fedora', 'windows', 'freebsd', 'alpine', 'arch', 'demo', 'lodge'];

interface GuestIconProps {
  readonly guestSystem: string | undefined;
  readonly size?: number;
}

/** A picture of what a machine runs; the words beside it say the same. */
export function GuestIcon({ guestSystem, size = 36 }: GuestIconProps) {
  const { guestSystems } = useLodge();
  const system = guestSystems.find(({ id }) => id === guestSystem);
  const tint = TINTS.find((name) => guestSystem?.startsWith(name)) ?? system?.family ?? 'none';
  const Icon =
    guestSystem === undefined
      ? FileQuestionMark
      : tint === 'demo' || tint === 'lodge'
        ? Compass
        : FAMILIES[system?.family ?? 'other'];
  return (
    <span className={`guest-icon guest-icon--${tint} guest-icon--${size}`} aria-hidden="true">
      <Icon size={Math.round(size * 0.55)} />
    </span>
  );
}

export function useGuestName(machine: Machine): string | undefined {
  const { guestSystems } = useLodge();
  const text = useText();
  const { settings } = machine;
  if (settings === null) {
    return undefined;
  }
  const system = guestSystems.find(({ id }) => id === settings.guestSystem);
  return system === undefined ? settings.guestSystem : guestSystemName(system, text);
}
