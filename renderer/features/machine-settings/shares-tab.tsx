import { Plus } from 'lucide-react';
import { useFieldArray, useFormContext } from 'react-hook-form';
import { MAX_SHARE_NAME, MAX_SHARES } from '../../../engine/config/share-config.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { TextField } from '../../ui/field.tsx';
import type { SettingsValues } from './settings-form.ts';
import { CheckboxSetting, Device, Locked, PathSetting, TabBody } from './tabs.tsx';

/** Folders of the host that the guest can mount. */
export function SharesTab() {
  const text = useText();
  const { control, register, formState } = useFormContext<SettingsValues>();
  const shares = useFieldArray({ control, name: 'shares' });
  return (
    <TabBody locked>
      <p className="field__hint">{text('machine.sharesHint')}</p>
      <Locked>
        {shares.fields.length === 0 && <p className="muted">{text('machine.sharesNone')}</p>}
        {shares.fields.map(({ id }, index) => {
          const number = index + 1;
          return (
            <Device
              key={id}
              title={text('machine.share', { number })}
              remove={{ label: text('machine.shareRemove', { number }), onClick: () => shares.remove(index) }}
            >
              <TextField
                label={text('machine.shareName')}
                maxLength={MAX_SHARE_NAME}
                error={formState.errors.shares?.[index]?.name?.message}
                {...register(`shares.${index}.name`)}
              />
              <PathSetting name={`shares.${index}.path`} label={text('machine.sharePath')} want="folder" />
              <CheckboxSetting name={`shares.${index}.readOnly`} label={text('machine.readOnly')} />
            </Device>
          );
        })}
        <Button
          className="button--start"
          icon={<Plus size={16} aria-hidden="true" />}
          disabled={shares.fields.length >= MAX_SHARES}
          onClick={() => shares.append({ name: '', path: '', readOnly: false })}
        >
          {text('machine.shareAdd')}
        </Button>
      </Locked>
    </TabBody>
  );
}
