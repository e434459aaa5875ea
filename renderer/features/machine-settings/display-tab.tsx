import { useFormContext } from 'react-hook-form';
import { VGA_KINDS } from '../../../engine/config/display-config.ts';
import { useText } from '../../i18n/i18n.ts';
import { Choices, SelectField } from '../../ui/field.tsx';
import type { SettingsValues } from './settings-form.ts';
import { Locked, PathSetting, TabBody } from './tabs.tsx';

/** Display adapter and sound device. */
export function DisplayTab() {
  const text = useText();
  const { register, setValue, watch } = useFormContext<SettingsValues>();
  return (
    <TabBody locked>
      <Locked>
        <Choices
          label={text('machine.vga')}
          value={watch('vga')}
          onChange={(vga) => setValue('vga', vga, { shouldDirty: true })}
          choices={VGA_KINDS.map((value) => ({
            value,
            label: text(`machine.vga.${value}`),
            detail: text(`machine.vga.${value}Hint`),
          }))}
        />
        <SelectField label={text('machine.sound')} {...register('sound')}>
          {(['none', 'silent', 'file'] as const).map((value) => (
            <option key={value} value={value}>
              {text(`machine.sound.${value}`)}
            </option>
          ))}
        </SelectField>
        {watch('sound') === 'file' && <PathSetting name="soundFile" label={text('machine.soundFile')} want="file" />}
      </Locked>
    </TabBody>
  );
}
