import { useState } from 'react';
import { useChangeSettings, useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { Checkbox } from '../../ui/field.tsx';

/** Questions that can be switched off, by the name under which the settings remember that. */
export type WarningName = 'reset' | 'power-off' | 'capture';

export interface Confirmation {
  readonly warning: WarningName;
  readonly title: string;
  readonly text: string;
  readonly confirm: string;
  readonly danger?: boolean;
  readonly run: () => void;
}

/**
 * Asks before something with consequences, unless the user has said not to be asked. Gives back the dialog to render
 * and the function that asks.
 */
export function useConfirmation(): readonly [React.ReactNode, (confirmation: Confirmation) => void] {
  const { settings } = useLodge();
  const changeSettings = useChangeSettings();
  const text = useText();
  const [asked, setAsked] = useState<Confirmation>();
  const [never, setNever] = useState(false);

  const ask = (confirmation: Confirmation) => {
    if (settings.dismissedWarnings.includes(confirmation.warning)) {
      confirmation.run();
    } else {
      setNever(false);
      setAsked(confirmation);
    }
  };
  const close = () => setAsked(undefined);
  const dialog =
    asked === undefined ? null : (
      <Dialog
        alert
        title={asked.title}
        description={asked.text}
        onClose={close}
        actions={
          <>
            <Button onClick={close}>{text('common.cancel')}</Button>
            <Button
              look={asked.danger === true ? 'danger' : 'primary'}
              onClick={() => {
                close();
                if (never) {
                  changeSettings({ dismissedWarnings: [...settings.dismissedWarnings, asked.warning] });
                }
                asked.run();
              }}
            >
              {asked.confirm}
            </Button>
          </>
        }
      >
        <Checkbox label={text('common.dontShowAgain')} checked={never} onChange={setNever} />
      </Dialog>
    );
  return [dialog, ask];
}
