import { Plus, RefreshCw, Trash2 } from 'lucide-react';
import { useFieldArray, useFormContext } from 'react-hook-form';
import { MAX_PORT_FORWARDS, NETWORK_MODELS } from '../../../engine/config/network-config.ts';
import { newMacAddress } from '../../../main/contract/new-network.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Choices, SelectField, TextField } from '../../ui/field.tsx';
import { NEW_FORWARD, type SettingsValues } from './settings-form.ts';
import { CheckboxSetting, Locked, PathSetting, TabBody } from './tabs.tsx';

/** The network card, what it reaches, and the ports that lead to the guest. */
export function NetworkTab() {
  const text = useText();
  const { register, setValue, watch, formState } = useFormContext<SettingsValues>();
  const errors = formState.errors.network;
  const kind = watch('network.kind');
  return (
    <TabBody locked>
      <Locked>
        <Choices
          label={text('machine.network')}
          value={kind}
          onChange={(value) => setValue('network.kind', value, { shouldDirty: true })}
          choices={(['nat', 'none'] as const).map((value) => ({
            value,
            label: text(`machine.network.${value}`),
            detail: text(`machine.network.${value}Hint`),
          }))}
        />
      </Locked>
      {kind === 'nat' && (
        <>
          <CheckboxSetting name="network.connected" label={text('machine.connected')} />
          <Forwards />
          <Locked>
            <div className="device__row">
              <SelectField label={text('machine.model')} {...register('network.model')}>
                {NETWORK_MODELS.map((value) => (
                  <option key={value} value={value}>
                    {text(`machine.model.${value}`)}
                  </option>
                ))}
              </SelectField>
              <TextField
                label={text('machine.mac')}
                maxLength={17}
                error={errors?.mac?.message}
                after={
                  <Button
                    aria-label={text('machine.macNew')}
                    icon={<RefreshCw size={15} aria-hidden="true" />}
                    onClick={() =>
                      setValue('network.mac', newMacAddress(), { shouldDirty: true, shouldValidate: true })
                    }
                  />
                }
                {...register('network.mac')}
              />
            </div>
          </Locked>
          <Locked label={text('machine.access')}>
            <div className="choices">
              <CheckboxSetting
                name="network.isolated"
                label={text('machine.isolated')}
                detail={text('machine.isolatedHint')}
              />
              <CheckboxSetting
                name="network.hostLoopback"
                label={text('machine.hostLoopback')}
                detail={text('machine.hostLoopbackHint')}
              />
            </div>
          </Locked>
          <Locked>
            <PathSetting name="network.bootFolder" label={text('machine.bootFolder')} want="folder" />
            <TextField
              label={text('machine.bootFile')}
              maxLength={127}
              error={errors?.bootFile?.message}
              {...register('network.bootFile')}
            />
            <PathSetting
              name="network.capture"
              label={text('machine.capture')}
              want="file"
              hint={text('machine.captureHint')}
            />
          </Locked>
        </>
      )}
    </TabBody>
  );
}

function Forwards() {
  const text = useText();
  const { control, register, formState } = useFormContext<SettingsValues>();
  const forwards = useFieldArray({ control, name: 'network.forwards' });
  return (
    <fieldset className="fields">
      <legend className="field__label">{text('machine.forwards')}</legend>
      {forwards.fields.length === 0 && <p className="muted">{text('machine.forwardsNone')}</p>}
      {forwards.fields.map(({ id }, index) => {
        const number = index + 1;
        const errors = formState.errors.network?.forwards?.[index];
        const name = `network.forwards.${index}` as const;
        return (
          // biome-ignore lint/a11y/useSemanticElements: fieldsets cannot be laid out as a grid in every browser
          <div key={id} className="forward" role="group" aria-label={text('machine.forward', { number })}>
            <SelectField label={text('machine.protocol')} {...register(`${name}.protocol`)}>
              <option value="tcp">TCP</option>
              <option value="udp">UDP</option>
            </SelectField>
            <TextField
              label={text('machine.hostPort')}
              inputMode="numeric"
              maxLength={5}
              error={errors?.hostPort?.message}
              {...register(`${name}.hostPort`)}
            />
            <TextField
              label={text('machine.guestPort')}
              inputMode="numeric"
              maxLength={5}
              error={errors?.guestPort?.message}
              {...register(`${name}.guestPort`)}
            />
            <TextField
              label={text('machine.hostAddress')}
              maxLength={64}
              error={errors?.hostAddress?.message}
              {...register(`${name}.hostAddress`)}
            />
            <TextField
              label={text('machine.guestAddress')}
              placeholder="10.0.2.15"
              maxLength={64}
              error={errors?.guestAddress?.message}
              {...register(`${name}.guestAddress`)}
            />
            <Button
              className="forward__remove"
              look="quiet"
              aria-label={text('machine.forwardRemove', { number })}
              icon={<Trash2 size={16} aria-hidden="true" />}
              onClick={() => forwards.remove(index)}
            />
          </div>
        );
      })}
      <Button
        className="button--start"
        icon={<Plus size={16} aria-hidden="true" />}
        disabled={forwards.fields.length >= MAX_PORT_FORWARDS}
        onClick={() => forwards.append(NEW_FORWARD)}
      >
        {text('machine.forwardAdd')}
      </Button>
      <p className="field__hint">{text('machine.forwardsHint')}</p>
    </fieldset>
  );
}
