import type { AcceleratorReport, GuestSystem, MediaInspection } from '../../main/contract/host.ts';
import type { AcceleratorInUse } from '../../main/contract/machines.ts';
import type { Text } from './i18n.ts';
import { type MessageKey, messages } from './messages.ts';

function known(key: string): MessageKey | undefined {
  return Object.hasOwn(messages, key) ? (key as MessageKey) : undefined;
}

/** What a guest system is called: proper names are the same in every language. */
export function guestSystemName({ id, name }: Pick<GuestSystem, 'id' | 'name'>, text: Text): string {
  const key = known(`guest.name.${id}`);
  return key === undefined ? name : text(key);
}

/** What an image was found to be, in one line. */
export function describeMedium(found: MediaInspection, text: Text): string {
  const { kind, title, kernel, bootable, sizeBytes } = found;
  if (kind === 'cdrom') {
    const parts = [
      title,
      kernel === null ? null : `Linux ${kernel}`,
      text(bootable === false ? 'medium.cd.data' : 'medium.cd.bootable'),
    ];
    return parts.filter((part) => part !== null).join(', ');
  }
  const what = kind === 'floppy' ? text('medium.floppy', { kilobytes: sizeBytes / 1024 }) : text('medium.disk');
  return `${what}, ${text(bootable === false ? 'medium.noBootSector' : 'medium.bootSector')}`;
}

/** Why this accelerator runs the machine. What the catalogue does not know is shown as the machine said it. */
export function acceleratorReason({ name, reason, why, details }: AcceleratorInUse, text: Text): string {
  return said(`accelerator.${name}.${why ?? ''}`, details, text) ?? reason;
}

/** What is known of an accelerator of this host. */
export function acceleratorFinding({ name, detail, why, details }: AcceleratorReport, text: Text): string {
  return said(`host.${name}.${why ?? ''}`, details, text) ?? detail;
}

/** A text of the catalogue with its values; undefined when there is none, or when one of its values is missing. */
function said(
  name: string,
  details: Readonly<Record<string, string | number>> | undefined,
  text: Text,
): string | undefined {
  const values = details ?? {};
  const key = known(name);
  if (key === undefined) {
    return undefined;
  }
  const needed = [...messages[key].en.matchAll(/\{\{(\w+)\}\}/g)].map(([, value]) => value ?? '');
  return needed.every((value) => value in values) ? text(key, values) : undefined;
}

/** The accelerator's name, short. */
export function acceleratorName({ name, label }: Pick<AcceleratorInUse, 'name' | 'label'>, text: Text): string {
  const key = known(`status.accelerator.${name}`);
  return key === undefined ? label : text(key);
}
