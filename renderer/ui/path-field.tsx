import { Autocomplete } from '@base-ui/react/autocomplete';
import { File, Folder } from 'lucide-react';
import { type ReactNode, type Ref, useEffect, useState } from 'react';
import type { PathCompletion } from '../../main/contract/host.ts';
import { showError, useLodge, useShell } from '../api/lodge-context.ts';
import { useText } from '../i18n/i18n.ts';
import { Button } from './button.tsx';
import { Field } from './field.tsx';

interface PathFieldProps {
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly onBlur?: () => void;
  readonly want: 'file' | 'folder';
  readonly hint?: ReactNode;
  readonly warning?: ReactNode;
  readonly error?: string | undefined;
  readonly placeholder?: string;
  readonly ref?: Ref<HTMLInputElement>;
}

type Entry = PathCompletion['entries'][number];

const NO_ENTRIES: readonly Entry[] = [];
const TYPING_MILLIS = 120;

/** A path on the host: typed with completion, and chosen in a file dialog where the shell has one. */
export function PathField(props: PathFieldProps) {
  const { label, value, onChange, onBlur, want, hint, warning, error, placeholder, ref } = props;
  const text = useText();
  const shell = useShell();
  const [open, setOpen] = useState(false);
  const entries = useCompletion(open ? value : undefined, want);
  const { pickPath } = shell;
  return (
    <Field label={label} hint={hint} warning={warning} error={error}>
      {(ids) => (
        <div className="field__row">
          <Autocomplete.Root
            items={entries}
            filter={null}
            mode="none"
            value={value}
            open={open && entries.length > 0}
            itemToStringValue={(entry: Entry) => entry.path}
            onOpenChange={(next, { reason }) => {
              // A folder that was chosen shows what is in it.
              if (reason !== 'item-press') {
                setOpen(next);
              }
            }}
            onValueChange={(next, { reason }) => {
              onChange(next);
              setOpen(reason === 'item-press' ? /[/\\]$/.test(next) && want === 'file' : next !== '');
            }}
          >
            <Autocomplete.Input
              {...ids}
              ref={ref}
              className="input"
              spellCheck={false}
              autoCapitalize="off"
              placeholder={placeholder}
              onBlur={onBlur}
            />
            <Autocomplete.Portal>
              <Autocomplete.Positioner className="popup-layer" sideOffset={4}>
                <Autocomplete.Popup className="popup popup--completion" aria-label={label}>
                  <Autocomplete.List>
                    {(entry: Entry) => (
                      <Autocomplete.Item key={entry.path} value={entry} className="popup__item">
                        <span className="popup__icon" aria-hidden="true">
                          {entry.kind === 'folder' ? <Folder size={16} /> : <File size={16} />}
                        </span>
                        {entry.name}
                      </Autocomplete.Item>
                    )}
                  </Autocomplete.List>
                </Autocomplete.Popup>
              </Autocomplete.Positioner>
            </Autocomplete.Portal>
          </Autocomplete.Root>
          {pickPath !== undefined && (
            <Button
              aria-describedby={ids.id}
              onClick={async () => {
                const start = value === '' ? {} : { start: value };
                try {
                  const path = await pickPath({ want, title: label, ...start });
                  if (path !== undefined) {
                    onChange(path);
                  }
                } catch (error) {
                  showError(error);
                }
              }}
            >
              {text('common.browse')}
            </Button>
          )}
        </div>
      )}
    </Field>
  );
}

/** What the path typed so far can become; nothing when it is complete already. */
function useCompletion(prefix: string | undefined, want: 'file' | 'folder'): readonly Entry[] {
  const { api } = useLodge();
  const [found, setFound] = useState<readonly Entry[]>(NO_ENTRIES);
  useEffect(() => {
    if (prefix === undefined || prefix === '') {
      setFound(NO_ENTRIES);
      return;
    }
    let current = true;
    const timer = setTimeout(() => {
      api
        .call('fs.complete', { prefix, want: want === 'folder' ? 'folder' : 'any' })
        .then(({ entries }) => {
          if (current) {
            const complete = entries.some(
              ({ path, kind }) =>
                path === prefix || (want === 'folder' && kind === 'folder' && path.slice(0, -1) === prefix),
            );
            setFound(complete ? NO_ENTRIES : entries);
          }
        })
        // Without suggestions the field is as good.
        .catch(() => setFound(NO_ENTRIES));
    }, TYPING_MILLIS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [api, prefix, want]);
  return found;
}
