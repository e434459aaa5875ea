import { useFormContext } from 'react-hook-form';
import { ACCELERATORS } from '../../../engine/config/machine-config.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { acceleratorFinding } from '../../i18n/host-texts.ts';
import { useText } from '../../i18n/i18n.ts';
import { Choices } from '../../ui/field.tsx';
import type { SettingsValues } from './settings-form.ts';
import { CheckboxSetting, Locked, TabBody } from './tabs.tsx';

/** KVM, Lodge's own processor, or whichever is better; with what is known of each on this host. */
export function AcceleratorTab() {
  const { info } = useLodge();
  const text = useText();
  const { setValue, watch } = useFormContext<SettingsValues>();
  const best = info.accelerators.find(({ chosen }) => chosen);
  const detailOf = (kind: (typeof ACCELERATORS)[number]) => {
    if (kind === 'auto') {
      const name = best?.name === 'kvm' ? 'kvm' : 'software';
      return text('machine.acceleratorAuto', { name: text(`machine.accelerator.${name}`) });
    }
    const report = info.accelerators.find(({ name }) => name === kind);
    return report === undefined ? undefined : acceleratorFinding(report, text);
  };
  return (
    <TabBody locked>
      <Locked>
        <Choices
          label={text('machine.accelerator')}
          value={watch('accelerator')}
          onChange={(value) => setValue('accelerator', value, { shouldDirty: true })}
          choices={ACCELERATORS.map((value) => ({
            value,
            label: text(`machine.accelerator.${value}`),
            detail: detailOf(value),
          }))}
        />
        <p className="field__hint">{text('machine.acceleratorHint')}</p>
      </Locked>
      <Locked>
        <CheckboxSetting name="hyperv" label={text('machine.hyperv')} detail={text('machine.hypervHint')} />
      </Locked>
    </TabBody>
  );
}
