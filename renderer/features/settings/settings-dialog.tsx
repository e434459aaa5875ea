import { useState } from 'react';
import { LANGUAGES as LANGUAGE_SETTINGS, THEMES } from '../../../main/contract/host.ts';
import { useChangeSettings, useLodge } from '../../api/lodge-context.ts';
import { LANGUAGES, useText } from '../../i18n/i18n.ts';
import { useKeyName } from '../../input/key-name.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { SelectField } from '../../ui/field.tsx';
import { toasts } from '../../ui/toast-manager.ts';
import './settings.css';

/** What the whole app remembers; every change holds at once. */
export function SettingsDialog({ onClose }: { onClose: () => void }) {
  const { settings } = useLodge();
  const change = useChangeSettings();
  const text = useText();
  return (
    <Dialog
      title={text('settings.title')}
      onClose={onClose}
      actions={
        <Button look="primary" onClick={onClose}>
          {text('common.close')}
        </Button>
      }
    >
      <SelectField
        label={text('settings.language')}
        value={settings.language}
        onChange={({ target }) =>
          change({ language: LANGUAGE_SETTINGS.find((one) => one === target.value) ?? 'system' })
        }
      >
        {LANGUAGE_SETTINGS.map((language) => (
          <option key={language} value={language}>
            {language === 'system' ? text('settings.language.system') : LANGUAGES[language]}
          </option>
        ))}
      </SelectField>
      <SelectField
        label={text('settings.theme')}
        value={settings.theme}
        onChange={({ target }) => change({ theme: THEMES.find((one) => one === target.value) ?? 'system' })}
      >
        {THEMES.map((theme) => (
          <option key={theme} value={theme}>
            {text(`settings.theme.${theme}`)}
          </option>
        ))}
      </SelectField>
      <HostKeySetting />
      <div className="setting">
        <div className="setting__text">
          <span className="field__label">{text('settings.warnings')}</span>
          <span className="field__hint">{text('settings.warningsHint')}</span>
        </div>
        <Button
          disabled={settings.dismissedWarnings.length === 0 && settings.closeAction === 'ask'}
          onClick={() => {
            change({ dismissedWarnings: [], closeAction: 'ask' });
            toasts.add({ title: text('settings.warningsDone') });
          }}
        >
          {text('settings.warningsReset')}
        </Button>
      </div>
    </Dialog>
  );
}

/** The host key: the next key that is pressed becomes it; Escape and leaving the button keep the one there is. */
function HostKeySetting() {
  const { settings } = useLodge();
  const change = useChangeSettings();
  const text = useText();
  const keyName = useKeyName();
  const [listening, setListening] = useState(false);
  return (
    <div className="setting">
      <div className="setting__text">
        <span className="field__label">{text('settings.hostKey')}</span>
        <span className="field__hint">{text('settings.hostKeyHint')}</span>
      </div>
      <kbd>{keyName(settings.hostKey)}</kbd>
      <Button
        aria-pressed={listening}
        onClick={() => setListening(true)}
        onBlur={() => setListening(false)}
        onKeyDown={(event) => {
          if (!listening) {
            return;
          }
          if (event.code === 'Tab') {
            setListening(false);
            return;
          }
          event.preventDefault();
          event.stopPropagation();
          setListening(false);
          if (event.code !== 'Escape' && event.code !== '') {
            change({ hostKey: event.code });
          }
        }}
      >
        {text(listening ? 'settings.hostKeyPress' : 'settings.hostKeyChange')}
      </Button>
    </div>
  );
}
