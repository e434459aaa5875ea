import type { Ref, SelectHTMLAttributes } from 'react';
import { useLodge } from '../api/lodge-context.ts';
import { guestSystemName } from '../i18n/host-texts.ts';
import { useText } from '../i18n/i18n.ts';
import { SelectField } from './field.tsx';

const FAMILIES = ['linux', 'windows', 'bsd', 'dos', 'other'] as const;

type GuestSystemFieldProps = SelectHTMLAttributes<HTMLSelectElement> & {
  readonly ref?: Ref<HTMLSelectElement>;
  readonly error?: string | undefined;
};

/** The guest systems, by families. */
export function GuestSystemField(props: GuestSystemFieldProps) {
  const { guestSystems } = useLodge();
  const text = useText();
  return (
    <SelectField label={text('wizard.guest')} {...props}>
      {FAMILIES.map((family) => {
        const systems = guestSystems.filter((system) => system.family === family);
        return (
          systems.length > 0 && (
            <optgroup key={family} label={text(`guest.family.${family}`)}>
              {systems.map((system) => (
                <option key={system.id} value={system.id}>
                  {guestSystemName(system, text)}
                </option>
              ))}
            </optgroup>
          )
        );
      })}
    </SelectField>
  );
}
